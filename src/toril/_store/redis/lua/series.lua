-- Read buckets of counters of queues, with the samples that are not added up yet.
--
-- keys   queue...
-- args   span first last task
-- wire   W-150 W-151 W-152
-- reply  for each queue: the buckets from first to last, the names of its tasks, and its samples
local A_READ = 1000

-- Return the buckets of a queue, in order; false where nothing was counted.
local function buckets(series)
  local found, last = {}, tonumber(arg.last)
  for from = tonumber(arg.first), last, A_READ do
    local fields = {}
    for number = from, math.min(from + A_READ - 1, last) do
      fields[#fields + 1] = string.format("%s:%.0f:%s", arg.span, number, arg.task)
    end
    local some = call("HMGET", series, unpack(fields))
    for i = 1, #some do
      found[#found + 1] = some[i]
    end
  end
  return found
end

local answers = {}
for i = 1, #queue do
  local series = queue[i].base .. "toril:series"
  answers[i] = {
    buckets(series), call("HGET", series, "tasks"),
    call("LRANGE", queue[i].base .. "toril:samples", 0, -1),
  }
end
return answers
