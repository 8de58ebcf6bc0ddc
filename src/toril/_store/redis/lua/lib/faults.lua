-- Groups of failed attempts that have one cause: a field of a hash each, in JSON, and their jobs.
--
-- wire   W-153 W-154
local faults = {}

local MOST_GROUPS = 500
local MOST_IDS = 10000
local SAMPLES = 20
local MOST_POINTS = 144
local POINT = 300000

-- Put a value to one end of a list in which it is at most once, and cut the other end.
local function put(list, value, in_front)
  list = type(list) == "table" and list or {}
  for i = #list, 1, -1 do
    if list[i] == value then
      table.remove(list, i)
    end
  end
  table.insert(list, in_front and 1 or #list + 1, value)
  if #list > SAMPLES then
    table.remove(list, in_front and #list or 1)
  end
  return list
end

-- Count an attempt in its five minutes; the oldest of these go.
local function point(group, at)
  local bucket, count, first = string.format("%.0f", math.floor(at / POINT)), 0, nil
  group.b = type(group.b) == "table" and group.b or {}
  group.b[bucket] = (tonumber(group.b[bucket]) or 0) + 1
  for each in pairs(group.b) do
    count = count + 1
    first = (not first or each < first) and each or first
  end
  if count > MOST_POINTS then
    group.b[first] = nil
  end
end

-- Return a group as it is stored.
local function read(base, found)
  local text = call("HGET", base .. "toril:errors", found) or "{}"
  local done, group = pcall(cjson.decode, text)
  return done and type(group) == "table" and group or {}
end

-- Add a failed attempt to the groups that a call has read, and its job to those of its group.
function faults.add(base, groups, at, text)
  local done, told = pcall(cjson.decode, text)
  if not done or type(told) ~= "table" or type(told[5]) ~= "table" then
    return
  end
  local id, task, found, version, fault = told[1], told[2], told[3], told[4], told[5]
  local group = groups[found] or read(base, found)
  groups[found] = group
  group.k, group.p, group.m = fault[1], fault[2], fault[3]
  group.n = (tonumber(group.n) or 0) + 1
  group.a, group.z = math.min(tonumber(group.a) or at, at), math.max(tonumber(group.z) or at, at)
  group.t, group.i = put(group.t, task), put(group.i, id, true)
  if version ~= "" then
    group.v = put(group.v, version)
  end
  point(group, at)
  local jobs = base .. "toril:error:" .. found
  call("ZADD", jobs, at, id)
  call("ZREMRANGEBYRANK", jobs, 0, -MOST_IDS - 1)
end

-- Delete the groups that were not seen for longest, where there are too many.
local function bound(base)
  local seen = base .. "toril:errors:seen"
  local over = call("ZCARD", seen) - MOST_GROUPS
  local gone = over > 0 and call("ZRANGE", seen, 0, over - 1) or {}
  for i = 1, #gone do
    call("HDEL", base .. "toril:errors", gone[i])
    call("DEL", base .. "toril:error:" .. gone[i])
    call("ZREM", seen, gone[i])
  end
end

-- Store groups that a call has changed.
function faults.keep(base, groups)
  for found, group in pairs(groups) do
    call("HSET", base .. "toril:errors", found, cjson.encode(group))
    call("ZADD", base .. "toril:errors:seen", group.z, found)
  end
  if next(groups) then
    bound(base)
  end
end

-- Delete all groups of a queue.
function faults.forget(base)
  local found = call("HKEYS", base .. "toril:errors")
  for i = 1, #found do
    call("DEL", base .. "toril:error:" .. found[i])
  end
  call("DEL", base .. "toril:errors", base .. "toril:errors:seen")
end

return faults
