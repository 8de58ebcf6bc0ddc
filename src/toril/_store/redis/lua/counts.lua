-- Count the jobs of queues in each state, each queue at one moment.
--
-- keys   queue...
-- wire   W-122
-- reply  for each queue: waiting, prioritized, delayed, active, waiting-children, completed, failed, and
--        since when the job that would run next could have run
-- Return when the first ready job of a queue was added, or was to start; false where nothing waits.
local function oldest(q)
  local id = call("LINDEX", q.paused, -1) or call("LINDEX", q.wait, -1)
    or call("ZRANGE", q.prioritized, 0, 0)[1]
  local found = id and attempt("HMGET", q.base .. id, "timestamp", "opts") or {}
  local done, opts = pcall(cjson.decode, found[2] or "{}")
  opts = done and type(opts) == "table" and opts or {}
  local own = type(opts.toril) == "table" and opts.toril or {}
  local at = tonumber(found[1] or "")
  return at and math.max(at + (tonumber(opts.delay) or 0), tonumber(own.at) or 0) or false
end

local answers = {}
for i = 1, #queue do
  local q = queue[i]
  answers[i] = {
    call("LLEN", q.wait) + call("LLEN", q.paused), call("ZCARD", q.prioritized),
    call("ZCARD", q.delayed), call("LLEN", q.active), call("ZCARD", q.waiting_children),
    call("ZCARD", q.completed), call("ZCARD", q.failed),
    oldest(q),
  }
end
return answers
