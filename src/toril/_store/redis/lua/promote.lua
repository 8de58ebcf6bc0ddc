-- Make delayed jobs ready now.
--
-- keys   queue
-- args   caller number now role before limit passed
-- each   job: id
-- use    choice event job place where
-- emits  waiting
-- wire   W-110 W-118
-- reply  ids, refusals (missing, or the state it is in), dealt with or passed over, end
local function ready(q, id)
  local key = q.base .. id
  local fields = job.read(key, "name", "priority")
  local was = where.out(q, "delayed", id)
  if not fields[1] then
    return "missing"
  elseif not was then
    return where.state(q, id)
  end
  call("HSET", key, "delay", 0)
  place.ready(q, id, fields[2])
  event.emit(q, "waiting", "jobId", id, "prev", "delayed")
end

return choice.run(ready)
