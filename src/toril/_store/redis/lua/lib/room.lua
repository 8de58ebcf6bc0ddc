-- Room for new jobs in queues that have `max_waiting`: who is counted, and who is refused.
--
-- Only adds of callers ask. What is accepted already (a retry, the next run of a schedule, a dead
-- letter, a job that is taken back or has become due) always finds its place.
--
-- use    dedup enqueue opening
-- wire   W-135
local room = {}

-- Return why a number of new jobs has no room in a queue: which, its limit, who waits, who came.
function room.full(q, count)
  local waiting = call("LLEN", q.wait) + call("LLEN", q.paused) + call("ZCARD", q.prioritized)
  count = math.max(count, 1)
  if waiting + count > q.most then
    return { "full", q.base, q.most, waiting, count }
  end
end

-- Say whether another job stands for this one; note what this one would take.
local function stands_already(row, seen)
  local q, key = row.queue, row.id ~= "" and row.queue.base .. row.id
  if row.skip or (key and (seen[key] or call("EXISTS", key) == 1)) then
    return true
  end
  if row.deid ~= "" then
    local owner = dedup.owner(q, row.deid)
    local holder = call("GET", owner)
    if seen[owner]
      or (holder and (call("PTTL", owner) >= 0 or call("EXISTS", q.base .. holder) == 1)) then
      return true
    end
    seen[owner] = true
  end
  if key then
    seen[key] = true
  end
  return false
end

-- Say whether a job may run as soon as it is stored.
local function waits_to_run(row, now)
  return row.waits == "" and not enqueue.due(row, tonumber(row.timestamp) or now, now)
end

-- Return why a group has no room, or nothing. Jobs that start later need room, and take none.
function room.refuse(rows, first, last, now)
  local seen, new = {}, {}
  for i = first, last do
    local q = rows[i].queue
    if not stands_already(rows[i], seen) then
      new[q] = (new[q] or 0) + (waits_to_run(rows[i], now) and 1 or 0)
    end
  end
  -- The rest of a group that comes in several calls, unless its first job is there already.
  for i = 1, new[rows[first].queue] and #each.rest or 0 do
    local row = each.rest[i]
    new[row.queue] = (new[row.queue] or 0) + row.count
  end
  for i = 1, #queue do
    local why = new[queue[i]] and opening.most(queue[i]) and room.full(queue[i], new[queue[i]])
    if why then
      return why
    end
  end
end

return room
