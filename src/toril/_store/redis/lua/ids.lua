-- List the ids of jobs: those of several places as if these stood one behind the other.
--
-- With a name, it is said of each id whether its job has another name.
--
-- keys   queue
-- args   name newest offset count
-- each   list: place
-- use    job
-- wire   W-10 W-11 W-12
-- reply  ids, and for each of them "1" if its job has another name than the one asked for
local LISTS = { wait = true, paused = true, active = true }

local q, newest = queue[1], arg.newest == "1"
local offset, count, ids, others = tonumber(arg.offset), tonumber(arg.count), {}, {}

-- Give ids from a position on. Lists are read from the right, where their oldest stand.
local function range(place, at, many)
  if not LISTS[place] then
    return call(newest and "ZREVRANGE" or "ZRANGE", q[place], at, at + many - 1)
  elseif newest then
    return call("LRANGE", q[place], at, at + many - 1)
  end
  local found, turned = call("LRANGE", q[place], -(at + many), -(at + 1)), {}
  for i = #found, 1, -1 do
    turned[#turned + 1] = found[i]
  end
  return turned
end

for i = 1, #each.list do
  local place = each.list[i].place
  local size = call(LISTS[place] and "LLEN" or "ZCARD", q[place])
  local many = math.min(size - offset, count - #ids)
  if many > 0 then
    for _, id in ipairs(range(place, offset, many)) do
      ids[#ids + 1] = id
      others[#others + 1] = arg.name ~= "" and job.read(q.base .. id, "name")[1] ~= arg.name
        and "1" or ""
    end
  end
  offset = math.max(offset - size, 0)
end
return { ids, others }
