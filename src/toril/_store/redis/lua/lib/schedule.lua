-- Schedules: their hashes, and the runs that they have armed.
--
-- use    enqueue event job where
-- emits  added waiting delayed removed duplicated
-- wire   W-07 W-90 W-91 W-92 W-93
local schedule = {}

local UNSTARTED = { "delayed", "prioritized", "wait", "paused" }
local NUMBERS = { "every", "limit", "startDate", "endDate" }

-- Give the key of a schedule's hash.
function schedule.key(q, id)
  return q.base .. "repeat:" .. id
end

-- Give the time of the run that a schedule has armed, or had last; nil if there is none.
function schedule.at(q, id)
  return tonumber(call("ZSCORE", q.schedules, id))
end

-- Say whether a schedule may have a run at a time, after those that it has had.
function schedule.allows(hash, at)
  local limit, last = tonumber(hash.limit), tonumber(hash.endDate)
  return not (limit and tonumber(hash.ic) >= limit) and not (last and at > last)
end

-- Give the id of the run that a schedule has armed, or nil. It may have started since.
function schedule.armed(q, id)
  local at = call("ZSCORE", q.schedules, id)
  if at and call("HEXISTS", schedule.key(q, id), "toril:over") == 0 then
    return "repeat:" .. id .. ":" .. at
  end
end

-- Say whether a job is the run that a schedule has armed.
function schedule.owns(q, run)
  local id = run:match("^repeat:(.+):%d+$")
  return id and schedule.armed(q, id) == run
end

-- Read a schedule: its fields; nil if there is none, or only an entry of BullMQ 5 and before.
function schedule.read(q, id)
  local flat, found = call("HGETALL", schedule.key(q, id)), {}
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

-- Write the options of a run: those of the template, and what BullMQ makes the next one from.
local function options(id, hash, run, at, now, delay)
  local rule = { '"count":' .. hash.ic }
  for _, name in ipairs({ "pattern", "tz" }) do
    rule[#rule + 1] = hash[name] and '"' .. name .. '":' .. cjson.encode(hash[name])
  end
  for i = 1, #NUMBERS do
    rule[#rule + 1] = hash[NUMBERS[i]] and '"' .. NUMBERS[i] .. '":' .. hash[NUMBERS[i]]
  end
  if hash["toril:offset"] and hash["toril:offset"] ~= "" then
    rule[#rule + 1] = '"offset":' .. hash["toril:offset"]
  end
  -- Of a name that stands twice readers take the second.
  local own = string.format('"repeat":{%s},"jobId":%s,"repeatJobKey":%s,"delay":%.0f,"timestamp":%.0f',
    table.concat(rule, ","), cjson.encode(run), cjson.encode(id), delay, now)
  if hash.pattern then
    own = own .. string.format(',"prevMillis":%.0f', at)
  end
  local template = (hash.opts or "{}"):match("^%s*{(.*)}%s*$") or ""
  return "{" .. template .. (template:match("%S") and "," or "") .. own .. "}"
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
    id = run, name = hash.name, data = hash.data, opts = options(id, hash, run, at, now, delay),
    timestamp = string.format("%.0f", now), delay = delay, rjk = id,
    priority = tonumber(given.priority) or 0, front = given.lifo == true and "1" or "",
  }, now)
end

return schedule
