-- The places of a queue by their roles: which one holds a job, taking ids out, looking through.
--
-- wire   W-02 W-04 W-10 W-13
local where = {}

-- To find an id in a list costs the list's length, so lists come last, the short one first.
local SETS = { "completed", "failed", "delayed", "prioritized", "waiting_children" }
local LOOKED_AT = 10000
local LISTS = { "active", "wait", "paused" }
local IS_LIST = { active = true, wait = true, paused = true }
local STATES = { wait = "waiting", paused = "waiting", waiting_children = "waiting-children" }

-- Give the role of the key that holds an id, or nil. Who is next stands at the end of a list.
function where.role(q, id)
  for i = 1, #SETS do
    if call("ZSCORE", q[SETS[i]], id) then
      return SETS[i]
    end
  end
  for i = 1, #LISTS do
    if call("LPOS", q[LISTS[i]], id, "RANK", -1, "MAXLEN", LOOKED_AT) then
      return LISTS[i]
    end
  end
  -- A job that is nowhere else stands in the part of a long line that is not gone through.
  if call("LLEN", q.wait) > LOOKED_AT and call("EXISTS", q.base .. id) == 1 then
    return "wait"
  end
end

-- Give the state of a job, as people read it.
function where.state(q, id)
  local role = where.role(q, id)
  return STATES[role] or role or "unknown"
end

-- Take an id out of the key of a role; give whether it was there.
function where.out(q, role, id)
  if IS_LIST[role] then
    return call("LREM", q[role], -1, id) == 1
  end
  return call("ZREM", q[role], id) == 1
end

-- Take an id out of the first of these roles that holds it; give which one did, or nil.
function where.take(q, id, roles)
  for i = 1, #roles do
    if where.out(q, roles[i], id) then
      return roles[i]
    end
  end
end

-- Take an id out of wherever it stands; give the key's name as BullMQ has it.
function where.anywhere(q, id)
  local role = where.take(q, id, SETS) or where.take(q, id, LISTS)
  return role and q[role]:sub(#q.base + 1) or "unknown"
end

-- Read a page of the ids of a role in the order in which they would go, after so many.
function where.page(q, role, before, passed, count)
  if not IS_LIST[role] then
    if before and (role == "completed" or role == "failed") then
      return call("ZRANGEBYSCORE", q[role], "-inf", before, "LIMIT", passed, count)
    end
    return call("ZRANGE", q[role], passed, passed + count - 1)
  end
  local found, ids = call("LRANGE", q[role], -passed - count, -passed - 1), {}
  for i = #found, 1, -1 do
    ids[#ids + 1] = found[i]
  end
  return ids
end

return where
