-- Let finished jobs run again, at the end of the queue; parents wait for them again.
--
-- keys   queue
-- args   caller number now prefix role before limit passed reset
-- each   job: id
-- use    alone choice event family job limits place where
-- emits  waiting
-- wire   W-110 W-117
-- reply  ids, refusals (missing, or the state it is in), dealt with or passed over, end
local ENDED = { "completed", "failed" }

-- Say whether stored options want a job to be the next one.
local function wants_front(opts)
  local fine, found = pcall(cjson.decode, opts or "{}")
  return fine and type(found) == "table" and found.lifo == true
end

local function again(q, id, _, now)
  local key = q.base .. id
  local fields = job.read(key, "name", "priority", "parentKey", "opts", "timestamp", "rjk")
  if not fields[1] then
    where.take(q, id, ENDED)
    return "missing"
  end
  local prev = call("ZSCORE", q.completed, id) and "completed"
    or call("ZSCORE", q.failed, id) and "failed"
  if not prev then
    return where.state(q, id)
  end
  alone.beside(family.rejoin, fields[3], key, now)
  where.out(q, prev, id)
  call("HDEL", key, "finishedOn", "processedOn", "failedReason", "returnvalue", "defa",
    "toril:cancel")
  if arg.reset == "1" then
    call("HDEL", key, "atm", "attemptsMade", "stc")
  end
  if fields[5] and not fields[6] then
    limits.note(q, id, fields[4], fields[5])
  end
  local front = (tonumber(fields[2]) or 0) == 0 and wants_front(fields[4])
  place.ready(q, id, fields[2], front)
  event.emit(q, "waiting", "jobId", id, "prev", prev)
end

return choice.run(again)
