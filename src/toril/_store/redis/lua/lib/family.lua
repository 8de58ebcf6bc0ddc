-- Parents and children: settle a child with its parent, release or fail a parent, part them.
--
-- A stored link may be any text: only one to a job of this store is followed. What a parent keeps
-- of its children may be of another kind: then the parent fails, and its children go their way.
--
-- use    event job kinds links numbers place wake
-- emits  waiting delayed
-- wire   W-70 W-71 W-72
local family = {}

local PLACES = { "waiting_children", "delayed", "wait", "prioritized", "failed", "marker" }
local BESIDE = { dependencies = "SCARD", processed = "HLEN", failed = "HLEN", unsuccessful = "ZCARD" }

-- Put a parent where its options say: it may run. It stands nowhere at this moment.
local function release(q, id, now)
  local fields = call("HMGET", q.base .. id, "priority", "delay", "toril:at")
  local at, delay = numbers.finite(fields[3]), numbers.finite(fields[2]) or 0
  delay = at and math.max(at - now, 0) or delay
  if delay > 0 then
    place.delay(q, id, now + delay)
    event.emit(q, "delayed", "jobId", id, "delay", now + delay)
  else
    place.ready(q, id, fields[1], (numbers.finite(fields[1]) or 0) == 0)
    event.emit(q, "waiting", "jobId", id, "prev", "waiting-children")
  end
end

-- Return the queue and the id of a parent, or nil if there is no such job.
local function find(parent)
  if not links.is_job(parent) or not job.read(parent, "name")[1] then
    return nil
  end
  local q, id = job.split(parent)
  if not q.releases then
    kinds.check(q, PLACES)
    q.releases = true
  end
  return q, id
end

-- Return the key beside a parent that holds another kind of value, and the error; nil: none does.
function family.misfit(parent)
  for word, command in pairs(BESIDE) do
    local reply = attempt(command, parent .. ":" .. word)
    if type(reply) == "table" then
      if not reply.err:find("WRONGTYPE", 1, true) then
        call(command, parent .. ":" .. word)
      end
      return parent .. ":" .. word, reply.err
    end
  end
end

-- Release a parent that waits for its children, however many are left.
function family.release(key, now)
  local q, id = find(key)
  if q and call("ZREM", q.waiting_children, id) == 1 then
    release(q, id, now)
  end
end

-- Release a parent that waits for its children if none is left to wait for.
function family.release_settled(key, now)
  if call("EXISTS", key .. ":dependencies") == 0 then
    family.release(key, now)
  end
end

-- Let a parent fail at its next claim, which comes at once when it was not running.
local function fail_parent(parent, reason, now)
  local q, id = find(parent)
  if not q then
    return
  end
  local waits = call("ZREM", q.waiting_children, id) + call("ZREM", q.delayed, id) > 0
  if waits or not call("ZSCORE", q.failed, id) then
    call("HSETNX", parent, "defa", reason)
  end
  if waits then
    -- It fails now, not after its delay or at its moment.
    call("HDEL", parent, "toril:at")
    call("HSET", parent, "delay", 0)
    release(q, id, now)
  end
end

-- Return whether a child can be settled with its parent. One that keeps its children in a key of
-- another kind would wait for ever, and fails instead.
local function is_sound(parent, now)
  if not find(parent) then
    return false
  end
  local key, text = family.misfit(parent)
  if key then
    fail_parent(parent, "its children cannot be read: " .. key .. " holds another kind of value", now)
    error(text .. " (" .. key .. ")", 0)
  end
  return true
end

-- Hand a completed child's result to its parent.
function family.complete(parent, child, result, now)
  if is_sound(parent, now) and call("SREM", parent .. ":dependencies", child) == 1 then
    call("HSET", parent .. ":processed", child, result)
    family.release_settled(parent, now)
  end
end

-- Tell a parent that a child failed for good, as the flag in the child's `parent` says.
function family.fail(parent, link, child, reason, now)
  local flag = link and link:match('"([frci][pd]of)"%s*:%s*true')
  if not flag or not is_sound(parent, now)
    or call("SREM", parent .. ":dependencies", child) == 0 then
    return
  end
  if flag == "fpof" then
    call("ZADD", parent .. ":unsuccessful", now, child)
    fail_parent(parent, "child " .. child .. " failed", now)
  elseif flag == "cpof" then
    call("HSET", parent .. ":failed", child, reason)
    family.release(parent, now)
  else
    if flag == "idof" then
      call("HSET", parent .. ":failed", child, reason)
    end
    family.release_settled(parent, now)
  end
end

-- Say whether a child has failed that lets its parent go on at once; one that is not kept may have
-- been such a child.
function family.continues(parent)
  for _, child in ipairs(call("HKEYS", parent .. ":failed")) do
    local link = links.is_job(child) and job.read(child, "parent")[1]
    if not link or link:find('"cpof"%s*:%s*true') then
      return true
    end
  end
  return false
end

-- Part a child that goes away from its parent, which may then run.
function family.part(parent, child, now)
  if parent and is_sound(parent, now) and call("SREM", parent .. ":dependencies", child) == 1 then
    family.release_settled(parent, now)
  end
end

-- Let a parent keep the name and the place of a child whose job is not kept.
function family.outlive(parent, child)
  if parent and find(parent) then
    local fields = call("HMGET", child, "toril:nth", "timestamp", "name")
    call("HSET", parent, "toril:child:" .. child,
      (fields[1] or "0") .. " " .. (fields[2] or "0") .. " " .. (fields[3] or ""))
  end
end

-- Let a parent keep those of a child that has ended and is taken away.
function family.outlive_ended(parent, child)
  if parent and find(parent) and call("SISMEMBER", parent .. ":dependencies", child) == 0 then
    family.outlive(parent, child)
  end
end

-- Let a parent wait again for a child that is tried again, whatever had become of it.
function family.rejoin(parent, child, now)
  if not parent or not is_sound(parent, now) then
    return
  end
  local gone = call("ZREM", parent .. ":unsuccessful", child)
    + call("HDEL", parent .. ":failed", child) + call("HDEL", parent .. ":processed", child)
  if gone > 0 then
    call("SADD", parent .. ":dependencies", child)
  end
end

return family
