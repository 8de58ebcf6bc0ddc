-- Append lines to the logs of jobs.
--
-- keys   queue...
-- args   caller number now
-- each   line: queue id text keep token
-- use    alone job once
-- wire   W-28 W-52
-- reply  for each line: how many the log has now, or missing · lost · a fault
local function append(line)
  local key = line.queue.base .. line.id
  if not job.exists(key) then
    return "missing"
  elseif line.token ~= "" and call("GET", key .. ":lock") ~= line.token then
    return "lost"
  end
  local count, keep = call("RPUSH", key .. ":logs", line.text), tonumber(line.keep)
  if keep and count > keep then
    -- From the first to keep; beyond the last, for none, it removes the list.
    call("LTRIM", key .. ":logs", count - keep, -1)
    return keep
  end
  return count
end

local function main()
  local answers = {}
  for i = 1, #each.line do
    answers[i] = alone.run(append, each.line[i])
  end
  return answers
end

return once.run(main)
