-- List jobs: those of several places as if these stood one behind the other.
--
-- A call looks at a bounded number of ids and says where the next one goes on.
--
-- keys   queue...
-- args   name newest first at skip count
-- each   list: place
-- use    job
-- wire   W-10 W-11 W-12 W-120
-- reply  jobs (place, id, score if delayed, fields), the place and the position to go on from, how
--        many jobs are left to skip
local IDS_A_CALL = 1000
local STEP = 100
local BYTES_A_CALL = 4194304
local LISTS = { wait = true, paused = true, active = true }
local NAME, DATA, RESULT = 1, 2, 22

local q, newest, count = queue[1], arg.newest == "1", tonumber(arg.count)
local skip, looked, bytes, found = tonumber(arg.skip), 0, 0, {}

local function size(place)
  return call(LISTS[place] and "LLEN" or "ZCARD", q[place])
end

-- Give ids from a position on. Lists are read from the right, where their oldest stand.
local function ids_from(place, at, many)
  if not LISTS[place] then
    return call(newest and "ZREVRANGE" or "ZRANGE", q[place], at, at + many - 1)
  elseif newest then
    return call("LRANGE", q[place], at, at + many - 1)
  end
  local ids = call("LRANGE", q[place], -(at + many), -(at + 1))
  for i = 1, math.floor(#ids / 2) do
    ids[i], ids[#ids + 1 - i] = ids[#ids + 1 - i], ids[i]
  end
  return ids
end

local function give(place, id, fields)
  local score = place == "delayed" and call("ZSCORE", q.delayed, id)
  found[#found + 1] = { place, id, score, fields }
  bytes = bytes + #(fields[DATA] or "") + #(fields[RESULT] or "")
end

-- Look at one job: pass it over, or give it. An id without a job is no job.
local function look(place, id)
  local key = q.base .. id
  local name = job.read(key, "name")[1]
  if arg.name ~= "" and name ~= arg.name or not name and not job.exists(key) then
    return
  elseif skip > 0 then
    skip = skip - 1
  else
    give(place, id, call("HMGET", key, unpack(job.FIELDS)))
  end
end

local function full()
  return #found >= count or looked >= IDS_A_CALL or bytes >= BYTES_A_CALL
end

-- Walk along one place; give the position to go on from, or nil at its end.
local function walk(place, at)
  local last = size(place)
  if arg.name == "" then
    local step = math.min(skip, math.max(last - at, 0))
    at, skip = at + step, skip - step
  end
  while at < last and not full() do
    local ids = ids_from(place, at, math.min(STEP, IDS_A_CALL - looked, count - #found + skip))
    for i = 1, #ids do
      if full() then
        return at
      end
      look(place, ids[i])
      at, looked = at + 1, looked + 1
    end
  end
  return at < last and at or nil
end

local first, at = tonumber(arg.first), tonumber(arg.at)
while first <= #each.list and not full() do
  at = walk(each.list[first].place, at)
  if at then
    break
  end
  first, at = first + 1, 0
end
return { found, first, at, skip }
