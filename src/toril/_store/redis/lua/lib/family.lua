-- Parents and children: settle a child with its parent, release or fail a parent, part them.
--
-- use    event job place wake
-- emits  waiting delayed
-- wire   W-70 W-71 W-72
local family = {}

-- Put a parent where its options say: it may run. It stands nowhere at this moment.
local function release(q, id, now)
  local fields = call("HMGET", q.base .. id, "priority", "delay", "toril:at")
  local at, delay = tonumber(fields[3]), tonumber(fields[2]) or 0
  delay = at and math.max(at - now, 0) or delay
  if delay > 0 then
    place.delay(q, id, now + delay)
    event.emit(q, "delayed", "jobId", id, "delay", now + delay)
  else
    place.ready(q, id, fields[1], (tonumber(fields[1]) or 0) == 0)
    event.emit(q, "waiting", "jobId", id, "prev", "waiting-children")
  end
end

-- Release a parent that waits for its children, however many are left.
function family.release(key, now)
  local q, id = job.split(key)
  if call("ZREM", q.waiting_children, id) == 1 then
    release(q, id, now)
  end
end

-- Release a parent that waits for its children if none is left to wait for.
function family.release_settled(key, now)
  if call("EXISTS", key .. ":dependencies") == 0 then
    family.release(key, now)
  end
end

-- Hand a completed child's result to its parent.
function family.complete(parent, child, result, now)
  if call("SREM", parent .. ":dependencies", child) == 1 then
    call("HSET", parent .. ":processed", child, result)
    family.release_settled(parent, now)
  end
end

-- Let a parent fail at its next claim, which comes at once when it was not running.
local function fail_parent(parent, child, now)
  local q, id = job.split(parent)
  if call("EXISTS", parent) == 0 then
    return
  end
  local waits = call("ZREM", q.waiting_children, id) + call("ZREM", q.delayed, id) > 0
  if waits or not call("ZSCORE", q.failed, id) then
    call("HSETNX", parent, "defa", "child " .. child .. " failed")
  end
  if waits then
    -- It fails now, not after its delay or at its moment.
    call("HDEL", parent, "toril:at")
    call("HSET", parent, "delay", 0)
    release(q, id, now)
  end
end

-- Tell a parent that a child failed for good, as the flag in the child's `parent` says.
function family.fail(parent, link, child, reason, now)
  local flag = link and link:match('"([frci][pd]of)"%s*:%s*true')
  if not flag or call("SREM", parent .. ":dependencies", child) == 0 then
    return
  end
  if flag == "fpof" then
    call("ZADD", parent .. ":unsuccessful", now, child)
    fail_parent(parent, child, now)
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
    local link = call("HGET", child, "parent")
    if not link or link:find('"cpof"%s*:%s*true') then
      return true
    end
  end
  return false
end

-- Part a child that goes away from its parent, which may then run.
function family.part(parent, child, now)
  if parent and call("SREM", parent .. ":dependencies", child) == 1 then
    family.release_settled(parent, now)
  end
end

-- Let a parent keep the name and the place of a child whose job is not kept.
function family.outlive(parent, child)
  if parent and call("EXISTS", parent) == 1 then
    local fields = call("HMGET", child, "toril:nth", "timestamp", "name")
    call("HSET", parent, "toril:child:" .. child,
      (fields[1] or "0") .. " " .. (fields[2] or "0") .. " " .. (fields[3] or ""))
  end
end

-- Let a parent wait again for a child that is tried again, whatever had become of it.
function family.rejoin(parent, child)
  if not parent or call("EXISTS", parent) == 0 then
    return
  end
  local gone = call("ZREM", parent .. ":unsuccessful", child)
    + call("HDEL", parent .. ":failed", child) + call("HDEL", parent .. ":processed", child)
  if gone > 0 then
    call("SADD", parent .. ":dependencies", child)
  end
end

return family
