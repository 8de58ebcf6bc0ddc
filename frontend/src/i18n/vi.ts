import type { Texts } from "./en";
import { plurals } from "./plural";

const n = plurals("vi");
const jobs = (count: number) => n(count, { other: "# công việc" });

export const vi: Texts = {
  // Frame
  navigation: "Các trang", skip: "Đến nội dung", search: "Tìm kiếm", searchHint: "Tìm công việc, hàng đợi, tác vụ…  user_id:481", suggestions: "Gợi ý",
  commands: "Lệnh", shortcuts: "Phím tắt", range: "Khoảng thời gian", themeToggle: "Đổi giao diện sáng, tối", live: "trực tiếp", frozen: "tạm dừng", connecting: "đang kết nối",
  freeze: "Dừng hoặc tiếp tục cập nhật trực tiếp", copyLink: "Sao chép liên kết trang này", chartsAsTables: "Biểu đồ dạng bảng", keyRows: "Dòng sau, dòng trước",
  keyOpen: "Mở trong khung bên, rồi toàn trang", keySelect: "Chọn dòng (Shift: một dải)", readOnly: "Chỉ xem.", noSuchPage: "Không có trang này",
  pageNames: {
    overview: "Tổng quan", queues: "Hàng đợi", queue: "Hàng đợi", jobs: "Công việc", job: "Công việc", errors: "Lỗi", error: "Lỗi", flows: "Luồng", flow: "Luồng", schedules: "Lịch chạy",
    workers: "Worker", tasks: "Tác vụ", task: "Tác vụ", operations: "Thao tác", audit: "Nhật ký", settings: "Cài đặt", add: "Thêm công việc",
  },

  // States and common words
  states: {
    waiting: "đang chờ", prioritized: "ưu tiên", delayed: "hẹn giờ", active: "đang chạy", completed: "hoàn thành", failed: "thất bại", waiting_children: "chờ việc con",
    cancelled: "đã hủy", retried: "thử lại", snoozed: "tạm hoãn", stalled: "bị treo", timeout: "quá giờ", deadline: "quá hạn", expired: "hết hạn",
    released: "trả lại", running: "đang chạy", missed: "bị lỡ", skipped: "bỏ qua",
  },
  queue: "Hàng đợi", task: "Tác vụ", job: "Công việc", jobsWord: "Công việc", worker: "Worker", error: "Lỗi", flow: "Luồng", schedule: "Lịch chạy", state: "Trạng thái", status: "Tình trạng", id: "Mã",
  when: "Khi nào", time: "Thời gian", name: "Tên", type: "Kiểu", kind: "Loại", version: "Phiên bản", where: "Vị trí", who: "Ai", on: "Đối tượng", by: "Bởi", action: "Thao tác", outcome: "Kết quả",
  reason: "Lý do", address: "Địa chỉ", change: "Thay đổi", now: "bây giờ", latest: "mới nhất", highest: "cao nhất", from: "từ", all: "Tất cả", open: "Mở", show: "Xem", showAll: "Xem tất cả",
  close: "Đóng", save: "Lưu", clear: "Bỏ chọn", copy: "Sao chép", copied: "Đã sao chép", copyFailed: "Không sao chép được", copyId: "Sao chép mã", undo: "Hoàn tác", view: "Cách xem", filter: "bộ lọc",
  select: "Chọn", selectRow: "Chọn công việc này", pages: "Các trang của danh sách", firstPage: "Trang đầu", nextPage: "Trang sau", optional: "không bắt buộc", required: "bắt buộc",
  theDefault: "Mặc định", noLimit: "Không giới hạn", export: "Xuất", sample: "Ví dụ", facts: "Thông tin", options: "Tùy chọn", user: "Người dùng", tags: "Nhãn",
  shown: (count) => n(count, { other: "# dòng" }),
  shownOf: (count, total) => `${n(count, { other: "#" })} trên ${n(total, { other: "#" })}`,
  moreItems: (count) => n(count, { other: "và # mục nữa" }),
  jobsCount: jobs, failuresCount: (count) => n(count, { other: "# lần lỗi" }),
  waitingCount: (count) => n(count, { other: "# công việc đang chờ" }),
  failedCount: (count) => n(count, { other: "# thất bại" }),
  doneCount: (count) => n(count, { other: "# hoàn thành" }),
  failedOf: (failed, total) => `${n(failed, { other: "#" })} trên ${n(total, { other: "# công việc" })} thất bại trong giờ qua`,
  sinceClock: (clock) => `từ ${clock}`,

  // Empty, loading, errors
  loading: "Đang tải", serverAway: "Máy chủ của bảng điều khiển không trả lời.", storeAway: "Kho dữ liệu không trả lời.", notFound: "Không tìm thấy", notAllowed: "Bạn không có quyền làm việc này",
  requestFailed: "Yêu cầu không thành công", tryAgain: "Thử lại", dataAge: (age) => `Dữ liệu cách đây ${age}.`,
  noJobsYet: "Chưa có công việc nào", noJobsNote: "trang này tự cập nhật khi có công việc đầu tiên", startWorker: "Khởi động worker:", noWorkers: "Không có worker",
  nothingOpen: "không còn gì", nothingWaits: "không có gì chờ", nothingRuns: "Không có công việc nào đang chạy.", nothingInRange: "Không có gì chạy trong khoảng này.",
  notRecorded: (what) => `Không được ghi lại: ${what}`, notReported: "không có số liệu", notKnownHere: "Máy chủ này không biết mã nguồn: hãy chạy với --app để xem tham số.",

  // Overview
  throughput: "Thông lượng", jobsPerSecond: "công việc mỗi giây", failureRate: "Tỷ lệ lỗi", oldestWaiting: "Chờ lâu nhất", backlog: "Tồn đọng", busySlots: "Chỗ đang bận",
  runTimeP95: "Thời gian chạy p95", runTime: "Thời gian chạy", waitTime: "Thời gian chờ", completed: "hoàn thành", retried: "thử lại", failed: "thất bại", added: "thêm mới",
  vsPrevious: "so với khoảng trước", clearsAbout: (time) => `xong sau ≈ ${time}`, notMoving: "không có gì hoàn thành",
  shareOfWorkers: (share, count) => `${share} của ${n(count, { other: "# worker" })}`,
  needsAttention: "Cần chú ý", allQuiet: "Không có gì cần chú ý", completedInRange: (count) => `${jobs(count)} hoàn thành trong khoảng này.`,
  nextRuns: "Lần chạy tới", noRunsPlanned: "Không có lần chạy nào.",
  sortedByNeed: (count, total) => `${count} trên ${total} · theo mức cần chú ý`, retryAll: "Thử lại tất cả…",
  levels: { error: "Lỗi", warning: "Cảnh báo", info: "Lưu ý" },
  inOut: (incoming, outgoing) => `vào ${incoming}/s, ra ${outgoing}/s`,
  attention: {
    errorIn: (error, task) => `${error} trong ${task}`, fallingBehind: (queue) => `${queue} không theo kịp`, oldest: (queue, age) => `${queue}: công việc cũ nhất chờ ${age}`,
    slow: (count, factor) => `${jobs(count)} chạy lâu gấp ${factor} lần bình thường`, noWorker: (queue) => `Không có worker nào phục vụ ${queue}`, stuck: (count) => `${jobs(count)} bị kẹt`,
    failing: (queue) => `${queue}: nhiều công việc thất bại`, workerGone: (worker) => `Worker ${worker} im lặng`, broken: (schedule) => `Không theo được lịch ${schedule}`,
    missed: (schedule) => `Lịch ${schedule} lỡ một lần chạy`, mixedVersions: "Các worker chạy phiên bản khác nhau", memory: (worker) => `Bộ nhớ của ${worker} tăng liên tục`,
    eviction: (policy) => `Redis có thể xóa công việc (maxmemory-policy ${policy})`, evictionWhy: "Hãy đặt maxmemory-policy là noeviction.",
    deadLetters: (count) => n(count, { other: "# công việc hỏng hẳn" }), paused: (queue) => `${queue} đang tạm dừng`,
  },

  // Queues
  stateMix: "Việc chưa xong", waiting: "Đang chờ", running: "Đang chạy", oldest: "Cũ nhất", inPerSecond: "Vào /s", outPerSecond: "Ra /s", clearsIn: "Xong sau", failedHour: "Lỗi 1 h",
  throughputHour: "Thông lượng", paused: "tạm dừng", pausedFor: (time) => `tạm dừng, còn ${time}`, limited: "chạm giới hạn tốc độ", fallingBehind: "không theo kịp",
  filterByName: "Lọc theo tên", sortByNeed: "Theo mức cần chú ý", noQueueMatches: "Không có hàng đợi phù hợp",
  retryFailed: "Thử lại việc lỗi…", limits: "Giới hạn", limitsOf: (queue) => `Giới hạn của ${queue}`, inOutShort: "Vào / ra", listening: "đang nghe", atMost: (count) => `nhiều nhất ${count}`,
  failedKept: (count) => n(count, { other: "giữ # công việc lỗi" }), searchThese: "Tìm trong đây", noJobsInState: (state) => `Không có công việc ${state}`,
  concurrency: "Số chạy cùng lúc", rateLimit: "Giới hạn tốc độ", starts: "Số lần bắt đầu", perSeconds: "Trong … giây", startsPer: (count, time) => `${count} lần bắt đầu mỗi ${time}`,
  mostWaiting: "Chờ nhiều nhất", keepCompleted: "Giữ việc xong", keepFailed: "Giữ việc lỗi", deadLetters: "Công việc hỏng hẳn",
  pauseUntil: "Chạy tiếp sau (không bắt buộc)", pausedBy: (who) => `bởi ${who}`, pausedUntil: (time) => `đến ${time}`, pauseQueue: (queue) => `Tạm dừng ${queue}`,

  // Jobs
  attempts: "Số lần", selectHint: "x chọn dòng, ⏎ mở", selectedCount: (count) => n(count, { other: "đã chọn #" }),
  selectAll: (count) => n(count, { other: "Chọn tất cả # kết quả" }), selectAllMatching: "Chọn tất cả kết quả", allThatMatch: "Tất cả kết quả",
  newRows: (count) => n(count, { other: "# mới ↑" }), foundCount: (count) => n(count, { other: "tìm thấy #" }), saveView: "Lưu cách xem",
  removeFilter: (text) => `Bỏ bộ lọc ${text}`, removeView: (text) => `Bỏ cách xem ${text}`, withoutFilter: (text) => `bỏ ${text}`,
  noMatch: "Không có công việc phù hợp", loosen: "Thử", goOnHint: "Chưa xem hết mọi công việc: tìm tiếp bằng “Trang sau”.",
  plan: {
    byId: "theo mã", byIndex: (index) => (index ? `theo chỉ mục ${index}` : "theo chỉ mục"), looked: (count) => `đã xem ${jobs(count)}`,
    lookedOf: (count, total) => `đã xem ${n(count, { other: "#" })} trên khoảng ${n(total, { other: "#" })}`, backTo: (time) => `về đến ${time}`,
  },
  fullPage: "Toàn trang",

  // Job
  inQueue: "trong", whyFailed: "Vì sao thất bại", lastError: "Lỗi gần nhất", allLikeThis: "Tất cả lỗi này", oneOf: (count) => `một trong ${n(count, { other: "#" })} lỗi như vậy`,
  attemptOf: (attempt, of) => `lần ${attempt} trên ${of}`, attemptN: (attempt) => `lần ${attempt}`, earlierErrors: (count) => n(count, { other: "# lỗi trước đó" }),
  traceback: "Vết lỗi", framesHidden: (count) => n(count, { other: "(ẩn # dòng của thư viện: hiện)" }),
  life: "Quá trình", lifeNote: (total, work) => `${total}, trong đó chạy ${work}`,
  phases: { waiting: "chờ", backoff: "nghỉ trước khi thử lại", blocked: "chờ việc con" },
  addedAt: "Thêm lúc", exponential: "tăng dần", fixed: "cố định", due: "Đến hạn", started: "Bắt đầu", finished: "Kết thúc", priority: "Ưu tiên", backoff: "Nghỉ giữa các lần", timeout: "Giới hạn giờ", deadline: "Hạn chót", uniqueKey: "Khóa duy nhất", parent: "Việc cha", progress: "Tiến độ",
  arguments: "Tham số", result: "Kết quả", log: "Nhật ký", hiddenValue: "ẩn", valuesHidden: (count) => n(count, { other: "ẩn # giá trị" }), reveal: "Hiện giá trị",
  revealNote: "Các giá trị được hiện cho bạn trên trang này. Ai đã xem và vì sao được ghi trong nhật ký.", copyCall: "Sao chép lệnh gọi", cutText: (size) => `… tổng cộng ${size}`, cutMore: (count) => n(count, { other: "còn # mục" }), cutAt: "Giá trị bị cắt bớt.", loadAll: (size) => `Tải đủ ${size}`,
  lineCount: (count) => n(count, { other: "# dòng" }), sameKey: "Cùng khóa", editAndRun: "Sửa và chạy lại",

  // Add
  addJob: "Thêm công việc", runAgain: "Chạy lại", argumentsJson: "Tham số, dạng JSON", asJson: "Sửa dạng JSON", asForm: "Sửa dạng biểu mẫu", delaySeconds: "Hẹn sau (giây)",
  editNote: "Một công việc mới được thêm; công việc cũ giữ nguyên.", hiddenKept: "Giá trị vẫn ẩn thì giữ như đã lưu.", jobAdded: "Đã thêm công việc", duplicate: "Đã có công việc với khóa này: không thêm gì, đây là công việc đang có.",

  // Flows
  graph: "Đồ thị", waterfall: "Thác thời gian", doneOf: (done, total) => `xong ${n(done, { other: "#" })} trên ${n(total, { other: "#" })}`, moreNotShown: "còn nữa, không hiện",
  children: (count) => n(count, { other: "# việc con" }), folded: (name, count) => `${name} ×${count}`, criticalPath: "Đường găng: phần làm luồng chậm nhất",
  noFlows: "Không có luồng", noFlowsNote: "Công việc có việc con sẽ hiện ở đây.", retryFailedPart: "Thử lại phần lỗi…", cancelFlow: "Hủy luồng",
  waitsFor: (count) => n(count, { other: "Chờ # công việc chưa xong:" }), waitsForFailed: (count) => n(count, { other: "# việc con thất bại; thử lại để luồng chạy tiếp." }),

  // Schedules
  nextRun: "Lần tới", lastRun: "Lần cuối", lastRuns: "Các lần trước", missed: "Bị lỡ", noSchedules: "Không có lịch chạy", dayRibbon: "Nửa ngày trước và sau", noRunsYet: "Chưa chạy lần nào.",
  runsSummary: (count, failed) => `${n(count, { other: "# lần chạy" })}, ${failed} thất bại`, ribbonSummary: (past, coming) => `${past} lần đã chạy, ${coming} lần sắp tới`,
  pileUp: (clock, count) => `${n(count, { other: "# lịch cùng bắt đầu" })} lúc ${clock}`, declared: "Khai báo", declaredYes: "trong mã nguồn: hãy đổi ở đó", declaredNo: "khi đang chạy", yourTime: "Giờ của bạn",
  rule: {
    text: "Quy tắc", every: (time) => `mỗi ${time}`, everyMinutes: (count) => n(count, { other: "mỗi # phút" }), hourly: (minute) => `mỗi giờ, phút ${minute}`,
    everyHours: (count, minute) => n(count, { other: `mỗi # giờ, phút ${minute}` }), daily: (at) => `hằng ngày lúc ${at}`, weekdays: (at) => `thứ Hai đến thứ Sáu lúc ${at}`,
    weekly: (day, at) => `${day} hằng tuần lúc ${at}`, monthly: (day, at) => `ngày ${day} hằng tháng lúc ${at}`,
  },

  // Workers
  memory: "Bộ nhớ", codeVersion: "Phiên bản mã", mixedVersions: "đang chạy nhiều phiên bản", sameEverywhere: "giống nhau mọi nơi", queuesServed: "Hàng đợi phục vụ",
  byWorkers: (count) => n(count, { other: "bởi # worker" }), ofHosts: (count) => n(count, { other: "trên # máy" }), largest: "lớn nhất", allAlive: "tất cả hoạt động",
  silentCount: (count) => n(count, { other: "# im lặng" }), silent: "im lặng", quiet: "không nhận thêm", alive: "hoạt động", host: "Máy", upFor: "Đã chạy", heartbeat: "Nhịp tim",
  whoRanWhat: "Ai đã chạy gì", lanesNote: "mỗi dải là một chỗ; bấm vào thanh để mở công việc", lanesMerged: "Chỉ hiện phần mới nhất.", lanesSummary: (spans, workers) => `${jobs(spans)} trên ${n(workers, { other: "# worker" })}`,
  slots: (count) => n(count, { other: "# chỗ" }), slotN: (slot) => `chỗ ${slot}`, runningNow: "Đang chạy", stackOf: (name) => `${name} đang ở đâu`, stackShort: "Ngăn xếp",

  // Errors
  groupedByCause: "nhóm theo nguyên nhân", failures: "Số lần lỗi", stillFailed: "Vẫn lỗi", trend: "Xu hướng", firstSeen: "Lần đầu", lastSeen: "Lần cuối", lastTime: "Lần cuối", firstTime: "Lần đầu", openJob: "Mở công việc",
  noErrors: "Không có lỗi trong khoảng này", noneKept: "Không còn giữ công việc nào của nhóm này", groupStates: { new: "mới", known: "đã biết", muted: "tắt báo", resolved: "đã xong" },

  // Tasks
  perSecond: "Lần chạy /s", heatMap: "Bản đồ nhiệt", heatNote: "ngang là thời gian, dọc là thời lượng; đậm hơn là nhiều hơn", parameters: "Tham số", showJobs: "Công việc", showFailed: "Thất bại", noTasks: "Không có tác vụ nào chạy trong khoảng này",

  // Operations, audit
  skipped: "Bỏ qua", noOperations: "Chưa có thao tác hàng loạt", noOperationsNote: "Thử lại, hủy hay xóa nhiều công việc sẽ hiện ở đây cùng tiến độ.",
  operationStates: { running: "đang chạy", done: "xong", cancelled: "đã hủy", failed: "thất bại" }, auditNote: "ai đã làm gì, từ đâu", noAudit: "Chưa có thay đổi nào từ đây",

  // Settings
  thisBrowser: "Trình duyệt này", theme: "Giao diện", themes: { system: "Theo máy", light: "Sáng", dark: "Tối" }, language: "Ngôn ngữ", zone: "Múi giờ", zones: { local: "Tại đây", server: "Máy chủ" },
  rows: "Dòng", rowsNormal: "Thường", rowsCompact: "Gọn", singleKeys: "Phím tắt một phím", switchedOn: "Bật", switchedOff: "Tắt", access: "Quyền truy cập", permissions: "Quyền", mode: "Chế độ",
  readOnlyShort: "chỉ xem", mayChange: "được thay đổi", store: "Kho dữ liệu", redaction: "Che giấu", redactionNote: "ẩn ngay tại máy chủ, trước khi gửi đi", retention: "Lưu giữ",
  serverProcess: "Máy chủ này", interval: "Chu kỳ", factNames: {
    keys: "Tên khóa", words: "Từ trong tên", tasks: "Theo tác vụ", own_rule: "Quy tắc riêng", pid: "Tiến trình", host: "Máy", python: "Python", started_ms: "Bắt đầu", viewers: "Trang đang mở",
  },
  permissionNames: {
    view: "xem", retry: "thử lại", cancel: "hủy", delete: "xóa", edit: "sửa", enqueue: "thêm", pause: "tạm dừng", limits: "giới hạn", schedules: "lịch chạy", workers: "worker", reveal: "hiện giá trị", audit: "nhật ký",
  },

  // Actions
  actions: {
    retry: "Thử lại", run_now: "Chạy ngay", cancel: "Hủy", delete: "Xóa", edit: "Sửa và chạy lại", move: "Chuyển", priority: "Đổi ưu tiên", pause: "Tạm dừng", resume: "Chạy tiếp", limits: "Đổi giới hạn",
    empty: "Làm trống", reschedule: "Hẹn lại", reveal: "Hiện giá trị", enqueue: "Thêm", add: "Thêm", "schedule run_now": "Chạy lịch ngay", "schedule pause": "Tạm dừng lịch", "schedule resume": "Chạy tiếp lịch", "schedule delete": "Xóa lịch",
  },
  actionCount: (verb, count) => `${verb} ${jobs(count)}`,
  actionDone: (verb, done, refused) => `${verb}: ${n(done, { other: "# xong" })}${refused ? `, ${n(refused, { other: "# bị từ chối" })}` : ""}`,
  wouldTouch: (verb, count, exact) => `${verb}: ${exact ? "" : "khoảng "}${jobs(count)}.`, nothingToDo: "Không có gì phù hợp: không cần làm gì.",
  notTouched: (count, why) => `${jobs(count)} không bị đụng đến: ${why}`, byTask: "Theo tác vụ", byQueue: "Theo hàng đợi", ratePerSecond: "Nhiều nhất … công việc mỗi giây",
  typeToConfirm: (name) => `Gõ ${name} để xác nhận`, operationStarted: "Đã bắt đầu; xem tiến độ ở trang Thao tác",
};
