-- Store jobs that have nothing special but a delay, in one queue.
--
-- use    clock
-- emits  added waiting delayed
-- wire   W-10 W-12 W-20 W-27 W-44
local plain = {}

local DUE = 4096
local MOST = 9007199254740992

-- Return the score behind those that are due in the same millisecond.
local function score_behind(delayed, due, last)
  local low = due * DUE
  if not last[due] then
    local found = call("ZREVRANGEBYSCORE", delayed, low + DUE - 1, low, "WITHSCORES", "LIMIT", 0, 1)
    last[due] = found[2] and tonumber(found[2]) or low - 1
  end
  last[due] = math.min(last[due] + 1, low + DUE - 1)
  return last[due]
end

-- Take out what was stored of jobs that cannot be stored as a whole.
local function undo(base, ready, late, count)
  if #ready > 0 then
    call("LTRIM", base .. "wait", #ready, -1)
  end
  for i = 2, #late, 2 do
    call("ZREM", base .. "delayed", late[i])
  end
  for i = 1, count do
    call("DEL", base .. (ready.first + i))
  end
end

-- Return numbers that were given to nobody.
local function unspend(base, count)
  if call("DECRBY", base .. "id", count) == 0 then
    call("DEL", base .. "id")
  end
end

-- Give this many jobs their numbers and places. The first write to each place shows whether it can
-- be written; where it cannot, nothing stays written.
local function place(base, rows, first, count, now)
  local ready, late, last = {}, {}, {}
  for i = first, first + count - 1 do
    if rows[i].delay ~= "0" then
      local due = now + rows[i].delay
      rows[i].due = string.format("%.0f", due)
      rows[i].score = score_behind(base .. "delayed", math.min(due, MOST), last)
    end
  end
  ready.first = call("INCRBY", base .. "id", count == 1 and "1" or count) - count
  for i = 1, count do
    local row, id = rows[first + i - 1], tostring(ready.first + i)
    row.id = id
    if row.due then
      late[#late + 1], late[#late + 2] = row.score, id
    else
      ready[#ready + 1] = id
    end
  end
  local put = #ready > 0 and attempt("LPUSH", base .. "wait", unpack(ready))
  local fault = type(put) == "table" and put
  put = not fault and #late > 0 and attempt("ZADD", base .. "delayed", unpack(late))
  if type(put) == "table" then
    undo(base, ready, {}, 0)
  end
  fault = fault or type(put) == "table" and put
  if fault then
    unspend(base, count)
    error(fault, 0)
  end
  return ready, late
end

-- Store jobs of which nothing stands in the way; return the number of the first, how many are ready
-- and how many delayed. Where one cannot be stored all are taken back, and its error is raised.
-- `cut`, if given, is how many events the stream keeps.
function plain.store(base, rows, first, count, now, cut)
  local ready, late = place(base, rows, first, count, now)
  local events, stamp = base .. "events", clock.id()
  for i = 1, count do
    local row, told = rows[first + i - 1], nil
    local stored = attempt("HSET", base .. row.id, "name", row.name, "data", row.data, "opts",
      row.opts, "timestamp", clock.text, "delay", row.delay, "priority", "0")
    if i == 1 and cut then
      told = attempt("XADD", events, "MAXLEN", "~", cut, stamp, "event", "added", "jobId", row.id,
        "name", row.name)
    else
      told = attempt("XADD", events, stamp, "event", "added", "jobId", row.id, "name", row.name)
    end
    if type(stored) == "table" or i == 1 and type(told) == "table" and cut then
      undo(base, ready, late, type(stored) == "table" and i - 1 or i)
      if type(stored) == "table" then
        error(stored, 0)  -- its number stays spent: somebody else's key is in the way
      end
      unspend(base, count)
      error(told, 0)
    end
    if row.due then
      attempt("XADD", events, stamp, "event", "delayed", "jobId", row.id, "delay", row.due)
    else
      attempt("XADD", events, stamp, "event", "waiting", "jobId", row.id)
    end
  end
  return ready.first + 1, #ready, #late
end

return plain
