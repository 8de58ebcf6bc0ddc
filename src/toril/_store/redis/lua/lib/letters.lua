-- Dead letters: a copy of a job that failed for good, as a job of another queue.
--
-- use    enqueue event job keep links where
-- emits  added waiting removed
-- wire   W-107
local letters = {}

-- Return the name of a queue.
function letters.name(q)
  return q.base:sub(#arg.prefix + 2, -2)
end

local OPTIONS = '{"attempts":1,"removeOnComplete":false,"removeOnFail":false}'

-- Return whether a job is the letter of this one. Its field may name any job.
local function is_of(q, id, key)
  local fields = links.is_job(key) and job.read(key, "name", "data") or {}
  local fine, found = pcall(cjson.decode, fields[1] == "failed-job" and fields[2] or "null")
  local original = fine and type(found) == "table" and found.originalJob
  return type(original) == "table" and original.id == id and original.queue == letters.name(q)
end

-- Take a letter back whose job completed after all, or failed anew; not one that is being read.
function letters.withdraw(q, job_id, letter)
  local key = arg.prefix .. ":" .. (letter or "")
  if not letter or not is_of(q, job_id, key) then
    return
  end
  local target, id = job.split(key)
  where.check(target)
  local role = where.role(target, id)
  if role and role ~= "active" then
    where.out(target, role, id)
    job.forget(target, { id })
    event.emit(target, "removed", "jobId", id, "prev", target[role]:sub(#target.base + 1))
  end
end

-- Write a date and time in UTC, as `new Date(ms).toISOString()` does.
local function iso(ms)
  local days, rest = math.floor(ms / 86400000), ms % 86400000
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
    - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return string.format("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
    yoe + era * 400 + (month <= 2 and 1 or 0), month, doy - math.floor((153 * mp + 2) / 5) + 1,
    math.floor(rest / 3600000), math.floor(rest / 60000) % 60, math.floor(rest / 1000) % 60,
    rest % 1000)
end

-- Say whether the data of a job are a dead letter that came through this queue.
local function came_through(name, data, target)
  local fine, found = pcall(cjson.decode, name == "failed-job" and data or "null")
  while fine and type(found) == "table" and type(found.originalJob) == "table" do
    local original = found.originalJob
    if original.queue == target then
      return true
    end
    found = original.name == "failed-job" and original.data
  end
  return false
end

-- Add the letter of a job that has just failed, and note it in the job. A letter of a letter goes
-- on, but never back to a queue that it came through.
function letters.send(decision, name, now)
  local q, target = decision.queue, keep.letters(decision.queue)
  local from = letters.name(q)
  if not target or target == "" or target == from then
    return
  end
  local fields = call("HMGET", q.base .. decision.id, "data", "opts")
  if came_through(name, fields[1], target) then
    return
  end
  local data = '{"originalJob":{"id":' .. cjson.encode(decision.id)
    .. ',"name":' .. cjson.encode(name) .. ',"queue":' .. cjson.encode(from)
    .. ',"data":' .. (fields[1] or "{}") .. ',"opts":' .. (fields[2] or "{}")
    .. '},"error":{"message":' .. cjson.encode(decision.reason)
    .. ',"stack":' .. (decision.text ~= "" and cjson.encode(decision.text) or "null")
    .. '},"failedAt":"' .. iso(now) .. '"}'
  local to = queue_of(arg.prefix .. ":" .. target .. ":")
  where.check(to)
  local id = enqueue.put(to, {
    name = "failed-job", data = data, opts = OPTIONS,
  }, now)
  call("HSET", q.base .. decision.id, "toril:letter", target .. ":" .. id)
end

return letters
