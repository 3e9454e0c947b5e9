/** English. The same keys as zh.js (a test holds them equal), and hints, which the service itself gives in Chinese only. */
export const en = {
  shell: {
    brand: "DICOM Import", skip: "Skip to content", navigation: "Main", other_language: "中文", to_dark: "Switch to dark", to_light: "Switch to light",
    live: "Live", polling: "Polling", connecting: "Connecting", offline: "Connection lost, reconnecting",
  },
  nav: { overview: "Overview", import: "New import", months: "Months", history: "Tasks", system: "System" },
  common: {
    loading: "Loading…", retry: "Try again", cancel: "Cancel", close: "Close", confirm: "OK", more: "Show {n} more", all: "All", none: "None", yes: "Yes", no: "No",
    unknown: "Unknown", empty: "Nothing here", back: "Back", previous: "Previous page", next: "Next page", range: "{from}–{to} of {total}", opens: "Open",
  },
  error: {
    network: "The import service does not answer. Check the network, and that the service is running.", key: "The service key is needed to see this.", enter_key: "Enter key",
    missing: "This version of the service does not offer that.", title: "That did not work", code: "Code", legal: "Possible now: {list}", unexpected: "The service gave an unexpected answer ({status}).",
  },
  key: {
    title: "Enter the service key", text: "This service is guarded by a key (SERVICE_API_KEY); ask your administrator. It is kept in this tab only, and gone when you close it.",
    label: "Service key", send: "Continue", wrong: "That key is not right. Check it and try again.", odd: "A key consists of Latin letters, digits and signs.", forget: "Forget the key", forgotten: "The key has been removed from this tab",
  },
  status: {
    pending: "Waiting", running: "Running", paused: "Paused", completed: "Completed", failed: "Aborted", cancelled: "Cancelled", interrupted: "Interrupted",
    success: "All in", partial: "Partly in", result_failed: "Nothing in", dry_run: "Dry run", retry_of: "Retry",
  },
  pause: {
    user: { what: "Paused by an operator.", todo: "Press Resume to go on." },
    backend_unavailable: { what: "XieHe is not available at the moment.", todo: "Nothing to do: it goes on by itself. If this lasts, call XieHe's administrator." },
    backend_auth: { what: "XieHe refuses the log-in.", todo: "Check API_TOKEN, or BACKEND_USERNAME and BACKEND_PASSWORD in .env, then press Resume." },
    disk_full: { what: "The disk is full, or the output folder cannot be written.", todo: "Free space or mend the permissions; it goes on by itself." },
    source_missing: { what: "The source folder cannot be reached.", todo: "Mount the share again; it goes on by itself." },
    renderer_unavailable: { what: "The render cluster cannot be reached, or none of its workers fits.", todo: "GET /health/ready says why; it goes on by itself." },
    outside_active_hours: { what: "Outside the allowed hours (ACTIVE_HOURS).", todo: "It starts by itself. If urgent, start a new import with “Run at once”." },
    interrupted: { what: "The service stopped under this task.", todo: "Press Resume: it goes on where it stood, nothing is done twice." },
  },
  progress: {
    label: "Progress of {name}", files: "{done} of {found} files", files_open: "{done} files, {found} found so far, still counting", scanned: "{done} files",
    rate: "{rate} files/s", eta: "about {time} left", took: "took {time}", counting: "counting", bytes: "{bytes} sent", bytes_dry: "{bytes} to send", patient: "Patient {id}",
    announce: "{name}: {percent} percent", announce_state: "{name}: {state}",
  },
  action: {
    pause: "Pause", resume: "Resume", cancel: "Cancel task", retry: "Retry failed files", import_real: "Import for real", paused: "Paused; files in hand are finished first", resumed: "The task goes on",
    cancelled: "Cancelled; uploaded images stay", started: "The task has started", retried: "The retry has started", open: "Open task",
    cancel_title: "Cancel this task?", cancel_text: "Files in hand are finished first, and uploaded images stay in XieHe. A cancelled task cannot be resumed, only imported anew (what is in is skipped).", cancel_yes: "Cancel task", cancel_no: "Keep it",
  },
  counts: {
    title: "Reconciliation", scanned: "scanned", uploaded: "uploaded", would_upload: "to upload", duplicate: "already there", failed: "failed", closed: "Closed: every file is accounted for", open: "In progress, being counted",
    patients: "Patients", patients_new: "new", patients_known: "known", held: "of them held", no_pixel: "of them without picture", ignored: "Other files (not counted)", frames: "Images (frames)", bytes: "Data",
    started: "Started", ended: "Ended", duration: "Duration", task: "Task",
  },
  overview: {
    title: "Overview", active: "In progress", recent: "Recent tasks", all_tasks: "All tasks", idle: "No task is running.", start: "New import",
    ready: "Service", ready_yes: "Ready", ready_no: "Cannot import now", running: "Running tasks", months: "Months done", last: "Last import", never: "none yet",
    months_of: "{done} of {total}", problems: "{n} to be seen to", fine: "All dependencies are fine", waiting: "{n} more waiting or paused", open_months: "{n} months not done", no_months: "No months counted yet",
  },
  tasks: {
    title: "Tasks", when: "When", source: "Source", state: "State", scanned: "Scanned", uploaded: "Uploaded", duplicate: "There", failed: "Failed", duration: "Duration",
    empty: "No tasks yet.", first: "Start the first import",
  },
  form: {
    title: "New import", folder: "Source folder", folder_hint: "A root, a month folder (such as 2024-01) or one patient's folder.", path: "Path", path_placeholder: "Choose below, or type a full path",
    description: "Description (optional)", description_hint: "For your own orientation; not written to XieHe.", options: "More options", window: "Window", window_hint: "Both or neither; empty means the file's own window.", center: "Centre", width: "Width",
    patient: "Patient id differs from the folder's name", demographics: "Birth date or sex differ from XieHe", by_settings: "As the service is set up", hold: "Hold for a person to decide", trust_dicom: "The file's header counts", trust_folder: "The folder's name counts",
    warn: "Import with a warning", hold_if_both: "Hold only if both differ", reupload: "Upload again what was imported and is no longer to be seen in XieHe", run_now: "Run at once, outside the allowed hours too",
    dry_run: "Dry run", dry_run_hint: "Goes all the way without writing to XieHe, and says what would happen. Recommended before a folder's first import.", start: "Start import", need_path: "Choose or type a source folder first.", both: "Centre and width go together.",
    width_least: "The width is at least 1.", starting: "Sending…", from_dry_run: "The options of the dry run are not known to this tab. Check them before you start.",
  },
  folders: {
    title: "Choose a folder", roots: "Allowed roots", up: "Up", choose: "Choose this folder", chosen: "Chosen", empty: "No folders in here.", truncated: "Too many folders: the first {n} are shown; type a path for the others.",
    root: "Root", month: "Month", patient: "Patient", folder: "Folder", not_importable: "Does not fit the layout, cannot be imported", n: "{n} folders", unsupported: "This version of the service cannot list folders; type the path.", enter: "Open {name}",
  },
  plan: {
    title: "Result of the dry run", text: "Nothing was written to XieHe. A real import would:", waiting: "The dry run is still going on; these figures will change.", patients_to_create: "Create patients", patients_to_reuse: "Use known patients",
    files_to_upload: "Upload files", images_to_upload: "Upload images (frames)", duplicates: "Skip as present", held: "Hold for a decision", unreadable: "Unreadable", no_pixel: "Without picture", bytes_to_upload: "Data to send",
    estimated_seconds: "Estimated time", basis: "Based on", real: "Import for real", real_hint: "With the same folder and options as the dry run.", again: "This tab no longer knows the options; check them in the form.", none: "There is nothing to upload.",
  },
  task: {
    title: "Task", tabs: "Contents of the task", outcomes: "Outcomes", pictures: "Pictures", files: "Files", verify: "Verify", notices: "Notices", skipped: "Folders left out ({n})",
    child: "Retried by", parent: "Retry of", report: "Download report", csv: "CSV (spreadsheet)", ndjson: "NDJSON (lines)", downloaded: "The report has been downloaded",
  },
  outcomes: {
    failed: "Failed files", failed_none: "No file failed.", rest: "Everything else", todo: "What to do", files: "{n} files", show: "Show files", retry: "Retry these", held: "Held", none: "No outcomes yet.",
    no_action: "Nothing to do",
  },
  retry: {
    title: "Retry: {reason}", text: "Only the {n} files that failed for this reason, as a new task.", all_title: "Retry all failed files", all_text: "The {n} failed files once more, as a new task (files without a picture aside).",
    how: "How this time", same: "As before", start: "Start retry", reupload: "Upload again what is no longer to be seen in XieHe",
  },
  files: {
    title: "Files", filter: "Filter", outcome: "Outcome", code: "Reason", month: "Month", number: "No.", file: "File", patient: "Patient id", window: "Centre / width", syntax: "Transfer syntax", size: "Image",
    total: "{n} files", none: "No file fits.", no_window: "none (colour, or not converted)", frames: "{n} frames", open: "Open {name}",
    s_uploaded: "Uploaded", s_would_upload: "To upload", s_duplicate: "Already there", s_failed: "Failed", no_picture: "No picture", loading_picture: "Loading picture",
    w_request: "as requested", w_file: "the file's", w_voi_lut: "the file's VOI LUT", w_default: "default", w_minmax: "range of pixels",
    picture_note: "Look through what was converted: a black, white or inverted picture should be seen here before a clinician sees it.",
  },
  viewer: {
    title: "Picture", previous: "Previous file", next: "Next file", frame: "Frame {n} of {total}", previous_frame: "Previous frame", next_frame: "Next frame", details: "About the file", kept: "the very picture that was uploaded", rendered: "converted again with the task's options",
    path: "Path", name: "File name in XieHe", image: "Image number in XieHe", uid: "SOP Instance UID", modality: "Modality", exam: "Exam type", warnings: "Warnings", detail: "Detail", result: "Outcome", source: "Picture",
    alt: "Picture {name} of patient {patient}", position: "{n} of {total}",
  },
  verify: {
    text: "Asks XieHe for every image that this task uploaded or found there: is it present, are size and content the same?", start: "Verify", again: "Verify again", none: "Not verified yet.", running: "Verifying {done} of {total}", completed: "Verified",
    failed: "The verification did not finish", ok: "Same", ok_present: "Present (content not comparable)", missing: "Missing", differs: "Differs", good: "Everything is in XieHe.", bad: "{n} images are not right; see the report.", report: "Download the verification",
    wait: "Possible when the task has ended.", label: "Progress of the verification", at: "Verified at {time}", started: "Verification has started",
  },
  months: {
    title: "Months", lead: "{done} of {total} months done", month: "Month", state: "State", files: "Files", imported: "Imported", failed: "Failed", held: "Held", no_pixel: "No picture", last: "Last import", source: "Source",
    import: "Import", again: "Import the rest", task: "Open task", unknown_month: "No month", empty: "No months yet: no month folder in the source, and nothing imported.", year: "{year}", board: "By year", table: "Details", counted: "Counted at {time}",
    gone: "no longer on the disk", reasons: "Reasons of failure", filter_all: "All", filter_open: "Not done", cell: "{month}: {state}, {files} files", cell_none: "{month}: none", legend: "Legend", actions: "Actions",
  },
  month_state: { done: "Done", partial: "Partly", running: "Running", waiting: "Waiting", not_imported: "Not imported" },
  system: {
    title: "System", checks: "Readiness", ready: "Ready", not_ready: "Cannot import now", contract: "XieHe's interface", version: "Version", at: "Checked at {time}", again: "Check again", settings: "This page", language: "Language",
    theme: "Appearance", theme_system: "As the system", theme_light: "Light", theme_dark: "Dark", key: "Service key", key_kept: "kept in this tab", key_none: "not in use", ok: "fine", bad: "to be seen to",
  },
  checks: {
    history: "History", output: "Output folder", decoders: "Decoders", sources: "Source folders", xiehe: "XieHe",
    todo: {
      history: "Check DATA_DIR's disk and permissions, then restart the service.", output: "Free space on OUTPUT_DIR's disk, or mend its permissions.", decoders: "Install the packages of requirements.txt again, then restart the service.",
      sources: "Check DICOM_SOURCE_PATH and that the share is mounted.", xiehe: "Check that XieHe is running, and BACKEND_URL and the account.",
    },
  },
  codes: {
    uploaded: "Uploaded", uploaded_renamed: "Uploaded with a suffix", would_upload: "To upload", would_upload_renamed: "To upload with a suffix", duplicate: "Already there", duplicate_by_name: "A picture of that name is there", removed_in_xiehe: "No longer to be seen in XieHe",
    unreadable_file: "Unreadable", empty_file: "Empty file", unstable_file: "Still changing", file_too_large: "Too large", misplaced_file: "Misplaced", not_dicom: "Not DICOM", not_an_image: "Not an image", truncated_file: "Incomplete file", no_pixel_data: "Holds no picture",
    missing_attribute: "Attribute missing", patient_id_invalid: "Invalid patient id", patient_id_too_long: "Patient id too long", patient_mismatch: "Patient id differs from folder", demographics_mismatch: "Birth date and sex differ", patient_id_collision: "Patient ids collide",
    instance_of_other_patient: "Another patient's image", patient_deleted_in_xiehe: "Patient deleted in XieHe", patient_rejected: "XieHe refuses the patient", patient_unavailable: "Patient not available", unsupported_image: "Unsupported image", unsupported_transfer_syntax: "Unsupported transfer syntax", too_many_frames: "Too many frames",
    pixel_decode_failed: "Pixels cannot be decoded", truncated_pixel_data: "Incomplete pixel data", render_timeout: "Conversion took too long", render_crashed: "Decoder crashed", render_out_of_memory: "Out of memory", upload_rejected: "XieHe refuses the upload", internal_error: "Defect of the service",
  },
  hints: {
    uploaded: "Nothing to do.", uploaded_renamed: "Nothing to do: the name belonged to another image, or cannot be stored as it is.", would_upload: "Nothing to do.", would_upload_renamed: "Nothing to do: it would get a suffix.",
    duplicate: "Nothing to do: XieHe has this image.", duplicate_by_name: "XieHe had that name before this service knew it; the content was not compared. In doubt look at it in XieHe.",
    removed_in_xiehe: "Deleted, or not visible to this account. To upload it again, import with that option ticked.", unreadable_file: "Check permissions and the disk, then retry.", empty_file: "0 bytes, usually a broken copy: export it again.",
    unstable_file: "It was still changing: retry when copying is done.", file_too_large: "If it is genuine, raise MAX_FILE_MB or RENDER_MEMORY_MB and retry.", misplaced_file: "Move it to <month>/<patient id>/.", not_dicom: "Named like DICOM, but is not: export it again or take it away.",
    not_an_image: "Named as IMAGE_EXTENSIONS lists, but is no such picture: export it again or take it away.", truncated_file: "Incomplete: export it again.", no_pixel_data: "Nothing to do: reports, plans and the like hold no picture.", missing_attribute: "The header lacks what a picture needs: export it again, ask the device's vendor.",
    patient_id_invalid: "Correct it at the device, or retry with the folder's name.", patient_id_too_long: "XieHe takes 50 characters: correct the folder's name or the header.", patient_mismatch: "Settle which is right, then retry with the header's id or with the folder's name.",
    demographics_mismatch: "Probably a recycled patient id. If it is the same person, retry and let it pass with a warning.", patient_id_collision: "XieHe's database confuses the id with another patient's (accents): renumber by hand.",
    instance_of_other_patient: "The same image is stored for another patient: find out whose it is.", patient_deleted_in_xiehe: "The id belongs to a deleted patient: have an administrator restore it, or use a new id.", patient_rejected: "XieHe refuses the patient's fields: correct what the detail names.",
    patient_unavailable: "XieHe fails for this patient again and again and serves others: have its log looked at, then retry.",
    unsupported_image: "It cannot be shown rightly: use a DICOM viewer.", unsupported_transfer_syntax: "No decoder: export with another compression.", too_many_frames: "If it is genuine, raise MAX_FRAMES_PER_FILE and retry.",
    pixel_decode_failed: "Pixel data damaged, or in contradiction to the header: export it again.", truncated_pixel_data: "Pixel data incomplete: export it again.", render_timeout: "If the file is good, raise RENDER_TIMEOUT_SECONDS and retry.",
    render_crashed: "It crashed the decoder, probably damaged: export it again.", render_out_of_memory: "If it is genuine, raise RENDER_MEMORY_MB and retry.", upload_rejected: "XieHe refuses this file every time while other calls work: read XieHe's log, then retry.",
    internal_error: "Report it with log and task id; other files are not affected.",
  },
};
