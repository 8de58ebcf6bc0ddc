-- Schedules: their hashes, and the runs that they have armed.
--
-- use    enqueue event job plan where
-- emits  added waiting delayed removed duplicated
-- wire   W-07 W-90 W-91 W-92 W-93
local schedule = {}

local MOST = 9007199254740991
local UNSTARTED = { "delayed", "prioritized", "wait", "paused" }

-- Give the key of a schedule's hash.
function schedule.key(q, id)
  return q.base .. "repeat:" .. id
end

-- Give the time of the run that a schedule has armed, or had last; nil if there is none.
function schedule.at(q, id)
  local at = tonumber(call("ZSCORE", q.schedules, id))
  return at and at >= 0 and at <= MOST and at or nil
end

-- Give the id of the run that a schedule has armed, or nil. It may have started since.
function schedule.armed(q, id)
  local over = schedule.at(q, id) and redis.pcall("HEXISTS", schedule.key(q, id), "toril:over")
  if over == 0 then
    return "repeat:" .. id .. ":" .. call("ZSCORE", q.schedules, id)
  end
end

-- Say whether a job is the run that a schedule has armed.
function schedule.owns(q, run)
  local id = run:match("^repeat:(.+):%d+$")
  return id and schedule.armed(q, id) == run
end

-- Read a schedule: its fields; nil if there is none, or only an entry of BullMQ 5 and before.
function schedule.read(q, id)
  -- What is no hash has no fields.
  local flat, found = redis.pcall("HGETALL", schedule.key(q, id)), {}
  for i = 1, #flat, 2 do
    found[flat[i]] = flat[i + 1]
  end
  return found.ic and found or nil
end

-- Give what a reader is told of a schedule: the time of its run, and its fields.
function schedule.told(q, id)
  return { call("ZSCORE", q.schedules, id), call("HGETALL", schedule.key(q, id)) }
end

-- Say whether the armed run of a schedule still waits to be started.
function schedule.waits(q, id)
  local run = schedule.armed(q, id)
  if not run or call("EXISTS", q.base .. run) == 0 then
    return false
  end
  return call("ZSCORE", q.delayed, run) or call("ZSCORE", q.prioritized, run)
    or call("LPOS", q.wait, run) or call("LPOS", q.paused, run)
end

-- Take the armed run of a schedule away, unless it has started; give whether it went.
function schedule.disarm(q, id)
  local run = schedule.armed(q, id)
  if not run or call("EXISTS", q.base .. run) == 0 then
    return false
  end
  local role = where.take(q, run, UNSTARTED)
  if not role then
    return false
  end
  job.forget(q, { run })
  event.emit(q, "removed", "jobId", run, "prev", role)
  return true
end

-- Store the job of a schedule's run, unless that has been there before.
function schedule.arm(q, id, hash, at, now)
  local run = string.format("repeat:%s:%.0f", id, at)
  call("ZADD", q.schedules, at, id)
  if call("EXISTS", q.base .. run) == 1 then
    event.emit(q, "duplicated", "jobId", run)
    return
  end
  local fine, given = pcall(cjson.decode, hash.opts or "{}")
  given = fine and type(given) == "table" and given or {}
  local delay = math.max(at - now, 0)
  enqueue.put(q, {
    id = run, name = hash.name or "", data = hash.data, opts = plan.options(id, hash, run, at, now, delay),
    timestamp = string.format("%.0f", now), delay = delay, rjk = id,
    priority = tonumber(given.priority) or 0, front = given.lifo == true and "1" or "",
  }, now)
end

return schedule
