/** 中文。键与 en.js 一一对应（有测试）。 */
export const zh = {
  shell: {
    brand: "DICOM 导入", skip: "跳到正文", navigation: "主导航", other_language: "English", to_dark: "切换到深色", to_light: "切换到浅色",
    live: "实时", polling: "轮询更新", connecting: "连接中", offline: "连接中断，正在重连",
  },
  nav: { overview: "概览", import: "新建导入", months: "月份", history: "任务", system: "系统" },
  common: {
    loading: "正在读取…", retry: "重新读取", cancel: "取消", close: "关闭", confirm: "确定", more: "再显示 {n} 条", all: "全部", none: "无", yes: "是", no: "否",
    unknown: "未知", empty: "没有内容", back: "返回", previous: "上一页", next: "下一页", range: "第 {from}–{to} 条，共 {total} 条", opens: "打开",
  },
  error: {
    network: "连不上导入服务。请检查网络，并确认服务正在运行。", key: "需要服务密钥才能查看。", enter_key: "输入密钥",
    missing: "这一版本的服务没有该接口。", title: "未能完成", code: "错误码", legal: "现在可以：{list}", unexpected: "服务给出了意外的回答（{status}）。",
  },
  key: {
    title: "请输入服务密钥", text: "本服务设有密钥（SERVICE_API_KEY），请向管理员索取。密钥只保存在这个标签页里，关闭即清除。",
    label: "服务密钥", send: "继续", wrong: "密钥不正确，请核对后再试。", odd: "密钥只能由英文字母、数字和符号组成。", forget: "清除密钥", forgotten: "密钥已从本页清除",
  },
  status: {
    pending: "等待中", running: "进行中", paused: "已暂停", completed: "已完成", failed: "已中止", cancelled: "已取消", interrupted: "已中断",
    success: "全部成功", partial: "部分成功", result_failed: "未能导入", dry_run: "试运行", retry_of: "重试任务",
  },
  pause: {
    user: { what: "由操作员暂停。", todo: "点“继续”接着导入。" },
    backend_unavailable: { what: "XieHe 暂时不可用。", todo: "无需操作，恢复后自动继续；若持续不恢复，请联系 XieHe 管理员。" },
    backend_auth: { what: "XieHe 拒绝了登录。", todo: "请核对 .env 中的 API_TOKEN 或 BACKEND_USERNAME、BACKEND_PASSWORD，然后点“继续”。" },
    disk_full: { what: "磁盘空间不足，或输出目录不可写。", todo: "请清理磁盘或修正权限；恢复后自动继续。" },
    source_missing: { what: "源目录无法访问。", todo: "请重新挂载共享目录；恢复后自动继续。" },
    renderer_unavailable: { what: "转换集群无法连接，或没有可用的 worker。", todo: "原因见 GET /health/ready；恢复后自动继续。" },
    outside_active_hours: { what: "不在允许的时段内（ACTIVE_HOURS）。", todo: "到时自动开始；急需时新建导入并勾选“立即运行”。" },
    interrupted: { what: "服务曾停止，任务被中断。", todo: "点“继续”从中断处接着导入，已完成的文件不会重来。" },
  },
  progress: {
    label: "{name} 的进度", files: "{done} / {found} 个文件", files_open: "{done} 个文件，已发现 {found} 个，仍在清点", scanned: "{done} 个文件",
    rate: "{rate} 个/秒", eta: "剩余约 {time}", took: "用时 {time}", counting: "正在清点", bytes: "已发送 {bytes}", bytes_dry: "将发送 {bytes}", patient: "当前患者 {id}",
    announce: "{name}：{percent}%", announce_state: "{name}：{state}",
  },
  action: {
    pause: "暂停", resume: "继续", cancel: "取消任务", retry: "重试失败文件", import_real: "现在正式导入", paused: "已暂停，正在处理的文件会先完成", resumed: "任务继续",
    cancelled: "任务已取消，已上传的影像保留", started: "任务已开始", retried: "重试任务已开始", open: "查看任务",
    cancel_title: "取消这个任务？", cancel_text: "正在处理的文件会先完成，已上传的影像保留在 XieHe 中。取消后不能继续，只能重新导入（已导入的会自动跳过）。", cancel_yes: "取消任务", cancel_no: "不取消",
  },
  counts: {
    title: "文件账目", scanned: "已扫描", uploaded: "已上传", would_upload: "将上传", duplicate: "已存在", failed: "失败", closed: "账目闭合：每个文件都有去向", open: "处理中，正在核算",
    patients: "患者", patients_new: "新建", patients_known: "已有", held: "其中扣留", no_pixel: "其中无图像", ignored: "非影像文件（不计）", frames: "图像（帧）", bytes: "数据量",
    started: "开始", ended: "结束", duration: "用时", task: "任务编号",
  },
  overview: {
    title: "概览", active: "正在进行", recent: "最近的任务", all_tasks: "全部任务", idle: "现在没有正在进行的任务。", start: "新建导入",
    ready: "服务状态", ready_yes: "可以导入", ready_no: "现在不能导入", running: "进行中的任务", months: "已完成的月份", last: "最近一次导入", never: "尚无",
    months_of: "{done} / {total}", problems: "{n} 项需要处理", fine: "各项依赖正常", waiting: "另有 {n} 个等待或暂停", open_months: "{n} 个月份未完成", no_months: "尚未统计到月份",
  },
  tasks: {
    title: "任务", when: "时间", source: "来源", state: "状态", scanned: "扫描", uploaded: "上传", duplicate: "已存在", failed: "失败", duration: "用时",
    empty: "还没有任务。", first: "新建第一个导入",
  },
  form: {
    title: "新建导入", folder: "来源目录", folder_hint: "可以是根目录、月份目录（如 2024-01）或单个患者目录。", path: "目录路径", path_placeholder: "在下面选择，或直接输入完整路径",
    description: "说明（可不填）", description_hint: "仅供查看，不会写入 XieHe。", options: "更多选项", window: "窗宽窗位", window_hint: "两项一起填写；留空则采用文件自带的窗。", center: "窗位", width: "窗宽",
    patient: "患者ID与目录名不同时", demographics: "出生日期、性别与 XieHe 不符时", by_settings: "按服务设置", hold: "扣留，等人工确认", trust_dicom: "以文件头为准", trust_folder: "以目录名为准",
    warn: "照常导入并提醒", hold_if_both: "两项都不符才扣留", reupload: "重新上传曾导入、但 XieHe 中已看不到的影像", run_now: "立即运行，不等允许时段",
    dry_run: "试运行", dry_run_hint: "完整走一遍但不写入 XieHe，给出将要发生的一切。建议首次导入某个目录前先试运行。", start: "开始导入", need_path: "请先选择或输入来源目录。", both: "窗位和窗宽必须同时填写。",
    width_least: "窗宽至少为 1。", starting: "正在提交…", from_dry_run: "选项取自试运行以外的页面，请核对后再开始。",
  },
  folders: {
    title: "选择目录", roots: "允许的根目录", up: "上一级", choose: "选择此目录", chosen: "已选择", empty: "这里没有子目录。", truncated: "目录过多，只列出前 {n} 个；其余请直接输入路径。",
    root: "根目录", month: "月份", patient: "患者", folder: "目录", not_importable: "不符合目录约定，不能导入", n: "{n} 个子目录", unsupported: "此版本服务不能浏览目录，请直接输入路径。", enter: "进入 {name}",
  },
  plan: {
    title: "试运行结果", text: "没有向 XieHe 写入任何内容。正式导入时将会：", waiting: "试运行进行中，下面的数字还会变化。", patients_to_create: "新建患者", patients_to_reuse: "使用已有患者",
    files_to_upload: "上传文件", images_to_upload: "上传图像（帧）", duplicates: "跳过已存在", held: "扣留待确认", unreadable: "无法读取", no_pixel: "不含图像", bytes_to_upload: "传输数据量",
    estimated_seconds: "预计用时", basis: "估算依据", real: "现在正式导入", real_hint: "使用与试运行相同的目录和选项。", again: "选项已不在本页，请在表单中核对后开始。", none: "没有需要上传的文件。",
  },
  task: {
    title: "任务", tabs: "任务内容", outcomes: "结果与原因", pictures: "影像核对", files: "文件清单", verify: "核对 XieHe", notices: "提醒", skipped: "未处理的目录（{n}）",
    child: "重试任务", parent: "重试自", report: "下载报告", csv: "CSV（表格）", ndjson: "NDJSON（逐行）", downloaded: "报告已下载",
  },
  outcomes: {
    failed: "失败的文件", failed_none: "没有失败的文件。", rest: "其余结果", todo: "怎么办", files: "{n} 个文件", show: "查看文件", retry: "重试这一类", held: "扣留", none: "还没有结果。",
    no_action: "无需处理",
  },
  retry: {
    title: "重试：{reason}", text: "只处理上次因此失败的 {n} 个文件，作为一个新的任务。", all_title: "重试全部失败文件", all_text: "作为一个新的任务重新处理 {n} 个失败文件（不含图像的文件除外）。",
    how: "这次怎么处理", same: "与上次相同", start: "开始重试", reupload: "重新上传 XieHe 中已看不到的影像",
  },
  files: {
    title: "文件清单", filter: "筛选", outcome: "结果", code: "原因", month: "月份", number: "序号", file: "文件", patient: "患者ID", window: "窗位 / 窗宽", syntax: "传输语法", size: "图像",
    total: "{n} 个文件", none: "没有符合条件的文件。", no_window: "无（彩色或未转换）", frames: "{n} 帧", open: "查看 {name}",
    s_uploaded: "已上传", s_would_upload: "将上传", s_duplicate: "已存在", s_failed: "失败", no_picture: "没有图像", loading_picture: "正在载入图像",
    w_request: "本次指定", w_file: "文件自带", w_voi_lut: "文件的 VOI LUT", w_default: "默认窗", w_minmax: "按像素范围",
    picture_note: "逐张浏览转换结果：全黑、全白或反相的图像应在医生看到之前发现。",
  },
  viewer: {
    title: "影像", previous: "上一个文件", next: "下一个文件", frame: "第 {n} 帧，共 {total} 帧", previous_frame: "上一帧", next_frame: "下一帧", details: "文件信息", kept: "上传的原图", rendered: "按任务选项重新转换",
    path: "路径", name: "在 XieHe 中的文件名", image: "XieHe 影像编号", uid: "SOP Instance UID", modality: "设备类型", exam: "检查类型", warnings: "提醒", detail: "说明", result: "结果", source: "图像来源",
    alt: "患者 {patient} 的影像 {name}", position: "{n} / {total}",
  },
  verify: {
    text: "逐张询问 XieHe：本任务上传或判为已存在的影像是否都在，大小和内容是否一致。", start: "开始核对", again: "重新核对", none: "尚未核对。", running: "正在核对 {done} / {total}", completed: "核对完成",
    failed: "核对未能完成", ok: "一致", ok_present: "存在（内容无法比较）", missing: "缺失", differs: "不一致", good: "全部在 XieHe 中。", bad: "{n} 张影像有问题，请下载核对报告查看。", report: "下载核对报告",
    wait: "任务结束后才能核对。", label: "核对进度", at: "核对于 {time}", started: "核对已开始",
  },
  months: {
    title: "月份", lead: "{done} / {total} 个月份已完成", month: "月份", state: "状态", files: "文件", imported: "已导入", failed: "失败", held: "扣留", no_pixel: "无图像", last: "最近导入", source: "来源",
    import: "导入", again: "补导", task: "查看任务", unknown_month: "未归入月份", empty: "还没有月份：源目录中没有月份目录，也没有导入记录。", year: "{year} 年", board: "按年一览", table: "明细", counted: "统计于 {time}",
    gone: "源目录已不在磁盘上", reasons: "失败原因", filter_all: "全部", filter_open: "未完成", cell: "{month}：{state}，{files} 个文件", cell_none: "{month}：没有", legend: "图例", actions: "操作",
  },
  month_state: { done: "已完成", partial: "部分完成", running: "进行中", waiting: "等待中", not_imported: "未导入" },
  system: {
    title: "系统", checks: "就绪检查", ready: "可以导入", not_ready: "现在不能导入", contract: "XieHe 接口版本", version: "服务版本", at: "检查于 {time}", again: "重新检查", settings: "本页设置", language: "语言",
    theme: "外观", theme_system: "跟随系统", theme_light: "浅色", theme_dark: "深色", key: "服务密钥", key_kept: "已保存在这个标签页", key_none: "未使用", ok: "正常", bad: "有问题",
  },
  checks: {
    history: "历史库", output: "输出目录", decoders: "解码器", sources: "源目录", xiehe: "XieHe 连接",
    todo: {
      history: "请检查 DATA_DIR 所在磁盘及权限，然后重启服务。", output: "请清理 OUTPUT_DIR 所在磁盘，或修正目录权限。", decoders: "请按 requirements.txt 重新安装依赖，然后重启服务。",
      sources: "请检查 DICOM_SOURCE_PATH 与共享目录的挂载。", xiehe: "请确认 XieHe 正在运行，且 BACKEND_URL 与账号正确。",
    },
  },
  codes: {
    uploaded: "已上传", uploaded_renamed: "已上传（加后缀）", would_upload: "将上传", would_upload_renamed: "将上传（加后缀）", duplicate: "已存在", duplicate_by_name: "已有同名影像", removed_in_xiehe: "XieHe 中已看不到",
    unreadable_file: "无法读取", empty_file: "空文件", unstable_file: "文件仍在变化", file_too_large: "文件过大", misplaced_file: "位置不对", not_dicom: "不是 DICOM", not_an_image: "不是图像文件", truncated_file: "文件不完整", no_pixel_data: "不含图像",
    missing_attribute: "缺少必需字段", patient_id_invalid: "患者ID无效", patient_id_too_long: "患者ID过长", patient_mismatch: "患者ID与目录名不同", demographics_mismatch: "出生日期和性别不符", patient_id_collision: "患者ID撞号",
    instance_of_other_patient: "影像属于另一患者", patient_deleted_in_xiehe: "患者已在 XieHe 删除", patient_rejected: "XieHe 拒绝该患者", patient_unavailable: "患者暂不可用", unsupported_image: "不支持的图像", unsupported_transfer_syntax: "不支持的传输语法", too_many_frames: "帧数过多",
    pixel_decode_failed: "像素解码失败", truncated_pixel_data: "像素数据不完整", render_timeout: "转换超时", render_crashed: "解码器崩溃", render_out_of_memory: "转换内存不足", upload_rejected: "XieHe 拒绝上传", internal_error: "服务内部缺陷",
  },
  hints: {},
};
