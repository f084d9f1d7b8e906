-- For wrk: sends the requests of a file, each once and separated by zero bytes, and counts the answers that are not its
-- second argument.
dofile("summary.lua")

function init(arguments)
    local file = io.open(arguments[1], "rb")
    requests, position, accepted, wrong = {}, 0, tonumber(arguments[2]), 0
    local index = 0
    for one in file:read("*a"):gmatch("[^%z]+") do
        if index % tonumber(arguments[3]) == number then
            table.insert(requests, one)
        end
        index = index + 1
    end
    file:close()
end

function request()
    position = position + 1
    return requests[position]
end

function response(status)
    if status ~= accepted then
        wrong = wrong + 1
    end
end
