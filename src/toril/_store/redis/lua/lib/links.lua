-- Links: keys of other jobs that stand in stored fields, which may hold any text.
local links = {}

-- Return whether a link names a job under the prefix of this store. No other is followed.
function links.is_job(key)
  local lead = arg.prefix .. ":"
  if not key or key:sub(1, #lead) ~= lead then
    return false
  end
  local rest = key:sub(#lead + 1)
  local queue = rest:match("^(.-):repeat:.") or rest:match("^(.*):[^:]+$")
  return queue ~= nil and queue ~= "" and not (":" .. queue .. ":"):find("::", 1, true)
end

return links
