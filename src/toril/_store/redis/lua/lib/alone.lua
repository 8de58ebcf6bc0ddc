-- Groups of one call fail alone: an error of one is its answer, and the others go on.
local alone = {}

-- Errors of the whole server, not of one group: they end the call, which is made again.
local OF_ALL = {
  "OOM", "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "LOADING",
  "BUSY", "Script killed", "UNKILLABLE",
}

-- A right that is missing: somebody else may have it.
local RIGHTS = { "NOPERM", "permission", "can't access", "can't run" }

-- What could not be done for others, such as a parent, while the job itself went its way.
alone.faults = {}

-- Run a function; return true and its answer, or false and the text of its error.
local function try(work, ...)
  local done, answer = pcall(work, ...)
  if done then
    return true, answer
  end
  local text = type(answer) == "table" and answer.err or tostring(answer)
  -- What stands in parentheses may be the name of a key.
  local words = text:gsub(" %(.*", "")
  for i = 1, #OF_ALL do
    if words:find(OF_ALL[i], 1, true) then
      error(answer, 0)
    end
  end
  return false, text
end

-- Run a function for one group; give what it gives, or "fault" and the text of its error.
function alone.run(work, ...)
  local done, answer = try(work, ...)
  if done then
    return answer
  end
  return "fault " .. answer
end

-- Run what a job leads to elsewhere: data that cannot be used are noted, and do not hold the job
-- back. A missing right does: whoever has it ends the job, and nobody is left waiting for that.
function alone.beside(work, ...)
  local done, answer = try(work, ...)
  if not done then
    for i = 1, #RIGHTS do
      if answer:find(RIGHTS[i], 1, true) then
        error(answer, 0)
      end
    end
    alone.faults[#alone.faults + 1] = answer
    return nil
  end
  return answer
end

return alone
