/**
 * The shapes of the public API that the dashboard reads (see web/api/schemas.py).
 *
 * @typedef {"pending"|"running"|"paused"|"completed"|"failed"|"cancelled"|"interrupted"} TaskStatus
 *
 * @typedef {object} Progress
 * @property {number} total_files_scanned
 * @property {number} total_patients_found
 * @property {number} new_patients_created
 * @property {number} existing_patients_skipped
 * @property {number} new_images_uploaded
 * @property {number} duplicate_images_skipped
 * @property {number} failed_files
 * @property {number} held_files
 * @property {number} no_pixel_files
 * @property {number} ignored_files
 * @property {number} frames_uploaded
 * @property {number} files_found
 * @property {boolean} total_is_final
 * @property {number|null} percent
 * @property {number|null} files_per_second
 * @property {number|null} eta_seconds
 * @property {string|null} current_folder
 * @property {number} [bytes_uploaded]
 *
 * @typedef {object} Plan
 * @property {number} patients_to_create
 * @property {number} patients_to_reuse
 * @property {number} files_to_upload
 * @property {number} images_to_upload
 * @property {number} duplicates
 * @property {number} held
 * @property {number} unreadable
 * @property {number} no_pixel
 * @property {number} bytes_to_upload
 * @property {number|null} estimated_seconds
 * @property {string} estimate_basis
 *
 * @typedef {{code: string, message: string}} Notice
 * @typedef {{path: string, reason: string, hint: string}} SkippedFolder
 *
 * @typedef {object} Task
 * @property {string} task_id
 * @property {TaskStatus} status
 * @property {string} source_path
 * @property {string|null} description
 * @property {string} created_at
 * @property {string|null} started_at
 * @property {string|null} completed_at
 * @property {number|null} duration_seconds
 * @property {Progress} progress
 * @property {number} errors_total
 * @property {"success"|"partial"|"failed"|null} result
 * @property {string|null} result_detail
 * @property {string|null} pause_reason
 * @property {string|null} parent_id
 * @property {string|null} retried_by
 * @property {boolean} [dry_run]
 * @property {Record<string, string|number|boolean|null>} options
 * @property {number} [seq]
 * @property {Plan|null} [plan]
 * @property {Notice[]} [warnings]
 * @property {SkippedFolder[]} [skipped_folders]
 * @property {number} [skipped_folders_total]
 *
 * @typedef {{outcome: string, code: string, files: number, hint: string}} CodeCount
 * @typedef {{by_code: CodeCount[]}} Stats
 *
 * @typedef {object} ReportRow
 * @property {number} number
 * @property {string} source_path
 * @property {string|null} month
 * @property {string|null} patient_id
 * @property {string|null} transfer_syntax
 * @property {string|null} sop_instance_uid
 * @property {string|null} modality
 * @property {string|null} exam_type
 * @property {string} outcome
 * @property {string} code
 * @property {string} detail
 * @property {string} hint
 * @property {string|null} upload_filename
 * @property {number|null} image_file_id
 * @property {number|null} window_center
 * @property {number|null} window_width
 * @property {string|null} window_source
 * @property {number} frames_total
 * @property {number} frames_uploaded
 * @property {boolean} held
 * @property {Notice[]} warnings
 *
 * @typedef {{total: number, files: ReportRow[], next_after: number|null}} FilePage
 *
 * @typedef {object} Month
 * @property {string|null} month
 * @property {"done"|"partial"|"running"|"waiting"|"not_imported"} state
 * @property {number} files
 * @property {number} imported
 * @property {number} failed
 * @property {number} held
 * @property {number} no_pixel
 * @property {boolean|null} on_disk
 * @property {string[]} source_paths
 * @property {string|null} last_task_id
 * @property {string|null} last_imported_at
 * @property {{code: string, files: number}[]} by_code
 *
 * @typedef {{name: string, path: string, kind: string, importable: boolean}} Folder
 *
 * @typedef {object} Sources
 * @property {string|null} path
 * @property {"roots"|"root"|"month"|"patient"|"folder"} kind
 * @property {string|null} parent
 * @property {boolean} importable
 * @property {string[]} roots
 * @property {Folder[]} folders
 * @property {boolean} truncated
 *
 * @typedef {object} Verification
 * @property {"none"|"running"|"completed"|"failed"} status
 * @property {string|null} started_at
 * @property {string|null} completed_at
 * @property {number} images_total
 * @property {number} images_checked
 * @property {number} ok
 * @property {number} ok_present
 * @property {number} missing
 * @property {number} differs
 * @property {string|null} detail
 *
 * @typedef {{name: string, ok: boolean, detail: string}} Check
 * @typedef {{name: string, state: "running"|"waiting", since: string, restarts: number}} BackgroundJob
 * @typedef {{status: "ready"|"not_ready", contract: string|null, timestamp: string, checks: Check[], background: BackgroundJob[]}} Readiness
 *
 * A page of the dashboard. `show` is called when only the section or the query of the same page changes.
 * @typedef {object} View
 * @property {string} title
 * @property {HTMLElement} node
 * @property {() => void} [stop]
 * @property {(route: import("./router.js").Route) => void} [show]
 *
 * @typedef {{node: HTMLElement, update: (value: any) => void}} Part
 */
export {};
