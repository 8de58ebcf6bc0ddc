-- The places of a queue by their roles: which one holds a job, taking ids out, looking through.
--
-- use    kinds
-- wire   W-02 W-04 W-10 W-13
local where = {}

-- To find an id in a list costs the list's length, so lists come last, the short one first.
local SETS = { "completed", "failed", "delayed", "prioritized", "waiting_children" }
local LOOKED_AT = 10000
local LISTS = { "active", "wait", "paused" }
local IS_LIST = { active = true, wait = true, paused = true }
local STATES = { wait = "waiting", paused = "waiting", waiting_children = "waiting-children" }

-- How many ids of lists this call has looked at, about; who acts on many jobs stops in time.
where.looked = 0

-- Fail, before anything was written, when a key of the queue holds another kind of value.
function where.check(q)
  if not q.checked then
    kinds.check(q, kinds.ALL)
    q.checked = true
  end
end

-- Say whether an id is likely to be found sooner from the left: newer jobs stand there.
local function is_new(key, id)
  local number = tonumber(id)
  local left, right = tonumber(call("LINDEX", key, 0)), tonumber(call("LINDEX", key, -1))
  return number and left and right and math.abs(left - number) < math.abs(number - right)
end

-- Give the role of the key that holds an id, or nil.
function where.role(q, id)
  for i = 1, #SETS do
    if call("ZSCORE", q[SETS[i]], id) then
      return SETS[i]
    end
  end
  for i = 1, #LISTS do
    local key = q[LISTS[i]]
    where.looked = where.looked + call("LLEN", key)
    if call("LPOS", key, id, "RANK", is_new(key, id) and 1 or -1) then
      return LISTS[i]
    end
  end
end

-- Give the state of a job, as people read it.
function where.state(q, id)
  local role = where.role(q, id)
  return STATES[role] or role or "unknown"
end

-- Take an id out of the key of a role; give whether it was there. In a list about `passed` ids
-- stand to its right, if that is known.
function where.out(q, role, id, passed)
  local key = q[role]
  if not IS_LIST[role] then
    return call("ZREM", key, id) == 1
  end
  where.looked = where.looked + (passed or call("LLEN", key))
  return call("LREM", key, not passed and is_new(key, id) and 1 or -1, id) == 1
end

-- Take an id out of the first of these roles that holds it; give which one did, or nil.
function where.take(q, id, roles)
  for i = 1, #roles do
    if where.out(q, roles[i], id) then
      return roles[i]
    end
  end
end

-- Take an id out of wherever it stands; give the role of that, or nil.
function where.anywhere(q, id)
  return where.take(q, id, SETS) or where.take(q, id, LISTS)
end

-- Take out the id of a job that may be ready; give whether it was.
function where.out_of_ready(q, id)
  if call("ZREM", q.prioritized, id) == 1 then
    return true
  end
  for i = 1, #SETS do
    if call("ZSCORE", q[SETS[i]], id) then
      return false
    end
  end
  return not call("LPOS", q.active, id) and where.take(q, id, { "wait", "paused" }) ~= nil
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
