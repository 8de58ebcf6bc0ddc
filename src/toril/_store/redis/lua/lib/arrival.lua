-- Jobs that come from another store: written as they stood there, and put in their places.
--
-- Scripts that use this have the rows `job`, `field`, `line`, `child` and `hold`; all but the first
-- name their job by its place among the jobs, from 1.
--
-- use    dedup event limits place search
-- emits  added waiting delayed waiting-children
-- wire   W-10 W-11 W-12 W-20 W-26 W-28 W-70 W-80
local arrival = {}

local ENDED = { completed = true, failed = true }
local OUTCOMES = { completed = ":processed", ignored = ":failed" }

local function key_of(job)
  return job.queue.base .. job.id
end

-- Say whether a job came from this origin before; nil: there is none, or the id is another's.
local function came(job)
  local found = call("HMGET", key_of(job), "toril:origin", "timestamp")
  return found[1] == arg.origin and found[2] == job.created
end

-- Mark the jobs that are here already; give one whose id another job has, if there is one.
function arrival.conflict()
  for i = 1, #each.job do
    local job = each.job[i]
    if call("EXISTS", key_of(job)) == 1 then
      job.known = came(job)
      if not job.known then
        return job
      end
    end
  end
end

-- Give the job that a row belongs to, unless it is here already.
local function owner(row)
  local job = each.job[tonumber(row.job)]
  return not job.known and job or nil
end

-- Write the hashes of jobs, and their logs.
function arrival.write()
  for i = 1, #each.field do
    local job = owner(each.field[i])
    if job then
      job.row = job.row or {}
      table.insert(job.row, each.field[i].name)
      table.insert(job.row, each.field[i].text)
      if each.field[i].name == "toril:index" then
        search.add(job.queue, job.id, each.field[i].text, tonumber(job.created))
      end
    end
  end
  for i = 1, #each.job do
    local row = each.job[i].row
    for first = 1, row and #row or 0, 1000 do
      call("HSET", key_of(each.job[i]), unpack(row, first, math.min(first + 999, #row)))
    end
  end
  for i = 1, #each.line do
    local job = owner(each.line[i])
    if job then
      call("RPUSH", key_of(job) .. ":logs", each.line[i].text)
    end
  end
end

-- Let parents know what they knew of their children.
function arrival.link(now)
  for i = 1, #each.child do
    local row = each.child[i]
    local parent = owner(row)
    if parent and row.outcome == "pending" then
      call("SADD", key_of(parent) .. ":dependencies", row.key)
    elseif parent and row.outcome == "failed" then
      call("ZADD", key_of(parent) .. ":unsuccessful", now, row.key)
    elseif parent then
      call("HSET", key_of(parent) .. OUTCOMES[row.outcome], row.key, row.value)
    end
  end
end

-- Keep a duplicate until the holder of its dedup key has finished.
local function follow(key, row)
  call("HSET", key, "name", row.name, "data", row.data, "opts", row.opts, "jid", row.jid)
  for _, field in ipairs({ "pk", "pd", "rjk" }) do
    if row[field] ~= "" then
      call("HSET", key, field, row[field])
    end
  end
end

-- Let jobs hold their dedup keys, but for those that another one holds by now.
function arrival.hold(now)
  for i = 1, #each.hold do
    local row = each.hold[i]
    local job, left = owner(row), row.expires ~= "" and row.expires - now
    local owned = job and dedup.owner(job.queue, row.key)
    if owned and call("EXISTS", owned) == 0 and (not left or left > 0) then
      dedup.hold(owned, job.id, left)
      if row.name ~= "" then
        follow(dedup.next(job.queue, row.key), row)
      end
    end
  end
end

-- Put a job where it stood, and tell of it unless it has ended.
local function settle(job)
  local q = job.queue
  if ENDED[job.state] then
    call("ZADD", q[job.state], job.at, job.id)
    return
  end
  local fields = call("HMGET", key_of(job), "opts", "rjk")
  if not fields[2] then
    limits.note(q, job.id, fields[1], job.created)
  end
  event.emit(q, "added", "jobId", job.id, "name", job.name)
  if job.state == "waiting-children" then
    call("ZADD", q.waiting_children, job.created, job.id)
    event.emit(q, "waiting-children", "jobId", job.id)
  elseif job.state == "delayed" then
    place.delay(q, job.id, tonumber(job.at))
    event.emit(q, "delayed", "jobId", job.id, "delay", job.at)
  else
    place.ready(q, job.id, job.state == "prioritized" and job.priority or 0)
    event.emit(q, "waiting", "jobId", job.id)
  end
end

-- Put the jobs that are new in their places, in their order.
function arrival.place()
  for i = 1, #each.job do
    if not each.job[i].known then
      settle(each.job[i])
    end
  end
end

return arrival
