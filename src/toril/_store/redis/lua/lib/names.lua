-- Names of jobs, and of the other keys of a queue.
local names = {}

-- What stands beside a job or a queue under a name that could be taken for an id.
local ENDS = { lock = true, logs = true, dependencies = true, processed = true, failed = true,
  unsuccessful = true }
local LEADS = { toril = true, de = true, dn = true, metrics = true }
local TAKEN = { delay = true, priority = true }
for _, name in pairs(ROLES) do
  TAKEN[name] = true
end

-- Return whether an id can be a job's. A list may hold the name of another key of its queue, which
-- must not be deleted as a job.
function names.is_id(id)
  if not id:find(":", 1, true) then
    return not TAKEN[id]
  elseif id:find("^repeat:") then
    return id:find("^repeat:.+:%d+$") ~= nil
  end
  return not LEADS[id:match("^[^:]*")] and not ENDS[id:match("[^:]*$")]
end

return names
