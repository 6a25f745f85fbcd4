// A case as JSON, and the files that reproduce a cluster.
#include "report.hpp"

#include <filesystem>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace horos::fuzz::vmx {

using nlohmann::json;

namespace {

std::string hex(uint64_t value) { return fmt::format("{:x}", value); }
uint64_t number(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) {
        throw std::runtime_error(std::string("case: key '") + key +
                                 "' is missing or not a string of hexadecimal digits");
    }
    const auto text = found->get<std::string>();
    size_t used = 0;
    uint64_t value = 0;
    try {
        value = std::stoull(text, &used, 16);
    } catch (const std::exception&) {
        used = 0;
    }
    if (used == 0 || used != text.size()) {
        throw std::runtime_error(std::string("case: key '") + key + "': '" + text +
                                 "' is not a hexadecimal number");
    }
    return value;
}

json guest_json(const GuestPart& g) {
    json registers = json::object(), pokes = json::object();
    for (unsigned n = 0; n < 16; ++n) {
        if (g.gpr[n] != 0) {
            registers[std::to_string(n)] = hex(g.gpr[n]);
        }
    }
    for (unsigned n = 0; n < g.pokes; ++n) {
        pokes[hex(g.poke[n].address)] = hex(g.poke[n].value);
    }
    std::string code;
    for (unsigned n = 0; n < g.code_bytes; ++n) {
        code += fmt::format("{:02x}", g.code[n]);
    }
    return {{"registers", registers}, {"memory", pokes}, {"code", code}};
}

GuestPart guest_from(const json& object) {
    GuestPart g{};
    for (const auto& [key, value] : object.at("registers").items()) {
        const unsigned long n = std::stoul(key);
        if (n >= 16) {
            throw std::runtime_error("case: register " + key + ": there are 16");
        }
        g.gpr[n] = number(object.at("registers"), key.c_str());
    }
    for (const auto& [key, value] : object.at("memory").items()) {
        const uint64_t address = std::stoull(key, nullptr, 16);
        if (g.pokes == POKES || address < ARENA_PA || address >= ARENA_END || address % 8 != 0) {
            throw std::runtime_error("case: memory " + key +
                                     ": not a quadword of the arena, or one too many");
        }
        g.poke[g.pokes++] = {address, number(object.at("memory"), key.c_str())};
    }
    const auto code = object.at("code").get<std::string>();
    if (code.size() % 16 != 0 || code.size() > CODE_BYTES * 2) {
        throw std::runtime_error("case: 'code' is not some quadwords, at most 40 bytes");
    }
    for (size_t n = 0; n < code.size() / 2; ++n) {
        g.code[n] = uint8_t(std::stoul(code.substr(n * 2, 2), nullptr, 16));
    }
    g.code_bytes = uint32_t(code.size() / 2);
    return g;
}

json words_json(const Poke* words, unsigned count) {
    json all = json::object();
    for (unsigned n = 0; n < count; ++n) {
        all[hex(words[n].address)] = hex(words[n].value);
    }
    return all;
}
uint32_t words_from(const json& all, Poke* words, size_t most) {
    uint32_t count = 0;
    for (const auto& [key, value] : all.items()) {
        if (count == most) {
            throw std::runtime_error("case: 'twice' changes too much");
        }
        words[count++] = {std::stoull(key, nullptr, 16), number(all, key.c_str())};
    }
    return count;
}
// The entry before the one that is judged.
json twice_json(const Twice& t) {
    return {{"memory", words_json(t.edit, t.edits)},
            {"fields", words_json(t.field, t.fields)},
            {"invalidation", hex(t.instruction)},
            {"type", hex(t.type)},
            {"operand", hex(t.operand)},
            {"linear", hex(t.linear)}};
}
Twice twice_from(const json& object) {
    Twice t{};
    t.edits = words_from(object.at("memory"), t.edit, TWICE_EDITS);
    t.fields = words_from(object.at("fields"), t.field, TWICE_FIELDS);
    t.instruction = uint32_t(number(object, "invalidation"));
    t.type = uint32_t(number(object, "type"));
    t.operand = number(object, "operand");
    t.linear = number(object, "linear");
    for (unsigned n = 0; n < t.edits; ++n) {
        const uint64_t address = t.edit[n].address;
        if (address < ARENA_PA || address >= ARENA_END || address % 8 != 0) {
            throw std::runtime_error("case: 'twice' changes memory that is not the arena's");
        }
    }
    return t;
}

} // namespace

json to_json(const Test& test) {
    json state = json::object(), steps = json::array();
    for (const auto& input : model::vmx::rule_inputs()) {
        if (test.state.value[input.input] != 0) {
            state[std::string(input.name)] = hex(test.state.value[input.input]);
        }
    }
    for (const Operand& step : test.steps) {
        steps.push_back({hex(step.instruction), hex(step.operand), hex(step.value),
                         hex(step.value2), hex(step.mov_ss)});
    }
    json out = {{"kind", kind_name(test.kind)}, {"state", state}};
    if (test.kind == Kind::GUEST) {
        out["guest"] = guest_json(test.guest);
    }
    if (test.twice.edits != 0) {
        out["twice"] = twice_json(test.twice);
    }
    if (test.kind == Kind::SEQUENCE) {
        out["steps"] = steps;
    }
    return out;
}

Test test_from_json(const json& document) {
    try {
        Test test;
        const auto kind = document.at("kind").get<std::string>();
        test.kind = kind == "guest"      ? Kind::GUEST
                    : kind == "sequence" ? Kind::SEQUENCE
                                         : Kind::ENTRY;
        if (kind != kind_name(test.kind)) {
            throw std::runtime_error("case: kind '" + kind + "' is not entry, guest or sequence");
        }
        const json& state = document.at("state");
        std::map<std::string_view, size_t> places;
        for (const auto& input : model::vmx::rule_inputs()) {
            places[input.name] = input.input;
        }
        for (const auto& [key, value] : state.items()) {
            const auto found = places.find(key);
            if (found == places.end()) {
                throw std::runtime_error("case: '" + key + "' is not a field or an input");
            }
            test.state.value[found->second] = number(state, key.c_str());
        }
        if (test.kind == Kind::GUEST) {
            test.guest = guest_from(document.at("guest"));
            test.twice = document.contains("twice") ? twice_from(document.at("twice")) : Twice{};
        }
        for (const json& step : document.value("steps", json::array())) {
            const auto part = [&](size_t n) {
                return std::stoull(step.at(n).get<std::string>(), nullptr, 16);
            };
            const uint64_t what = part(0);
            if (what != STEP_FILL && what != STEP_REVISION && what >= model::vmx::INSTRUCTIONS) {
                throw std::runtime_error("case: a step is no instruction");
            }
            test.steps.push_back({uint16_t(what), 0, uint32_t(part(4)), part(1), part(2), part(3)});
        }
        return test;
    } catch (const json::exception& error) {
        throw std::runtime_error(std::string("case: ") + error.what());
    } catch (const std::logic_error& error) {
        throw std::runtime_error(std::string("case: not a number: ") + error.what());
    }
}

} // namespace horos::fuzz::vmx
