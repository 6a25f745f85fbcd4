// Cases as JSON: VMCB fields by name, guest code as hexadecimal bytes, memory as address and value.
#include "horos/fuzz/arena.hpp"
#include "horos/fuzz/case.hpp"
#include "horos/model/svm/fields.hpp"
#include "process.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace horos::fuzz {

using horos::svm::Vmcb;
using Json = nlohmann::json;
namespace svm_model = horos::model::svm;

namespace {

constexpr std::array<std::pair<uint32_t, const char*>, 9> FLAG_NAMES = {{
    {wire::VMLOAD, "vmload"},
    {wire::DEBUG_REGS, "debug-registers"},
    {wire::PEND_NMI, "pend-nmi"},
    {wire::PEND_INTR, "pend-intr"},
    {wire::HOST_IF, "host-if"},
    {wire::NO_SVME, "no-svme"},
    {wire::SET_HSAVE, "set-hsave"},
    {wire::USER_MODE, "user-mode"},
    {wire::TWICE, "twice"},
}};
constexpr std::array<const char*, 16> GPR_NAMES = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                   "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                   "r12", "r13", "r14", "r15"};

std::string hex(uint64_t value) { return fmt::format("{:#x}", value); }

uint64_t number(const Json& json, const std::string& where) {
    if (json.is_number_unsigned())
        return json.get<uint64_t>();
    if (!json.is_string())
        throw CaseError(fmt::format("{}: a number or a string like \"0x1f\" is wanted", where));
    const std::string text = json.get<std::string>();
    size_t used = 0;
    uint64_t value = 0;
    try {
        value = std::stoull(text, &used, 0);
    } catch (const std::exception&) {
        used = 0;
    }
    if (text.empty() || used != text.size() || text[0] == '-')
        throw CaseError(fmt::format("{}: '{}' is not a number", where, text));
    return value;
}

Json vmcbToJson(const Vmcb& vmcb) {
    Json json = Json::object();
    Vmcb named{};
    for (const auto& field : svm_model::vmcb_fields()) {
        if (field.bytes > 8)
            continue;
        if (uint64_t value = svm_model::read_field(vmcb, field)) {
            json[std::string(field.name)] = hex(value);
            svm_model::write_field(named, field, value);
        }
    }
    for (size_t offset = 0; offset < sizeof vmcb; offset += 8) {
        uint64_t want, have;
        std::memcpy(&want, reinterpret_cast<const uint8_t*>(&vmcb) + offset, 8);
        std::memcpy(&have, reinterpret_cast<const uint8_t*>(&named) + offset, 8);
        if (want != have)
            json[fmt::format("+{:#05x}", offset)] = hex(want);
    }
    return json;
}

Vmcb vmcbFromJson(const Json& json) {
    Vmcb vmcb{};
    for (const auto& [name, value] : json.items()) {
        if (name[0] == '+') { // applied below, over the named fields
            continue;
        }
        const auto* field = svm_model::find_field(name);
        if (!field)
            throw CaseError(fmt::format("vmcb: there is no field '{}'", name));
        svm_model::write_field(vmcb, *field, number(value, "vmcb." + name));
    }
    for (const auto& [name, value] : json.items()) {
        if (name[0] != '+')
            continue;
        uint64_t offset = number(Json(name.substr(1)), "vmcb offset");
        if (offset % 8 || offset >= sizeof vmcb)
            throw CaseError(fmt::format("vmcb: offset '{}' is outside the block", name));
        uint64_t word = number(value, "vmcb." + name);
        std::memcpy(reinterpret_cast<uint8_t*>(&vmcb) + offset, &word, 8);
    }
    return vmcb;
}

Json memoryToJson(const Case& c) {
    Json list = Json::array();
    auto add = [&](uint64_t address, uint64_t value) {
        if (value != arenaTemplate()[(address - wire::ARENA_PA) / 8])
            list.push_back({{"address", hex(address)}, {"value", hex(value)}});
    };
    for (const WindowInfo& w : windows())
        for (unsigned i = 0; i < w.place.qwords; ++i)
            add(w.place.address + 8 * i, c.slot.window[w.place.offset + i]);
    for (uint32_t i = 0; i < c.slot.patches; ++i)
        add(c.slot.patch[i].address, c.slot.patch[i].value);
    return list;
}

// The first field of the quadword tells people where it is; the offset is what counts.
Json editsToJson(const wire::CaseSlot& slot) {
    Json list = Json::array();
    for (uint64_t i = 0; i < slot.edits; ++i) {
        const auto [place, value] = slot.edit[i];
        Json entry = {{"place", hex(place)}, {"value", hex(value)}};
        if (place < wire::SLOT_SIZE)
            entry["field"] = svm_model::field_at(uint16_t(place)).name;
        list.push_back(std::move(entry));
    }
    return list;
}

void readEdits(const Json& json, wire::CaseSlot& slot) {
    for (const auto& entry : json) {
        if (slot.edits == wire::EDITS)
            throw CaseError(fmt::format("earlier: more than {} entries", wire::EDITS));
        slot.edit[slot.edits++] = {number(entry.at("place"), "earlier.place"),
                                   number(entry.at("value"), "earlier.value")};
    }
}

std::vector<uint8_t> hexBytes(const std::string& text) {
    std::vector<uint8_t> bytes;
    if (text.size() % 2)
        throw CaseError("code: an odd number of hexadecimal digits");
    for (size_t i = 0; i < text.size(); i += 2) {
        auto digit = [&](char ch) -> unsigned {
            if (ch >= '0' && ch <= '9')
                return unsigned(ch - '0');
            if (ch >= 'a' && ch <= 'f')
                return unsigned(ch - 'a' + 10);
            throw CaseError(fmt::format("code: '{}' is not a hexadecimal digit", ch));
        };
        bytes.push_back(uint8_t(digit(text[i]) << 4 | digit(text[i + 1])));
    }
    return bytes;
}

void readFlags(const Json& json, wire::CaseSlot& slot) {
    for (const auto& entry : json) {
        const std::string text = entry.get<std::string>();
        bool found = false;
        for (auto [bit, name] : FLAG_NAMES)
            if (text == name) {
                slot.flags |= bit;
                found = true;
            }
        if (!found)
            throw CaseError(fmt::format("flags: there is no flag '{}'", text));
    }
}

void rejectUnknownKeys(const Json& json) {
    constexpr std::array KNOWN = {"format", "version", "origin", "flags", "rax",    "hsave",
                                  "gpr",    "dr",      "code",   "vmcb",  "memory", "earlier"};
    for (const auto& [key, value] : json.items())
        if (std::find(KNOWN.begin(), KNOWN.end(), key) == KNOWN.end())
            throw CaseError(fmt::format("unknown key '{}'", key));
}

} // namespace

Json toJson(const Case& c) {
    Json json;
    json["format"] = "horos-fuzz-case";
    json["version"] = 1;
    json["origin"] = c.origin;
    json["flags"] = Json::array();
    for (auto [bit, name] : FLAG_NAMES)
        if (c.slot.flags & bit)
            json["flags"].push_back(name);
    json["rax"] = hex(c.slot.rax);
    if (c.slot.flags & wire::SET_HSAVE)
        json["hsave"] = hex(c.slot.hsave);
    for (unsigned i = 0; i < 16; ++i)
        if (c.slot.gpr[i])
            json["gpr"][GPR_NAMES[i]] = hex(c.slot.gpr[i]);
    for (unsigned i = 0; i < 4; ++i)
        json["dr"].push_back(hex(c.slot.dr[i]));
    std::string code;
    for (uint8_t byte : c.code())
        code += fmt::format("{:02x}", byte);
    json["code"] = code;
    json["vmcb"] = vmcbToJson(c.vmcb());
    json["memory"] = memoryToJson(c);
    if (c.slot.flags & wire::TWICE)
        json["earlier"] = editsToJson(c.slot);
    return json;
}

Case fromJson(const Json& json) {
    try {
        if (!json.is_object() || json.value("format", "") != "horos-fuzz-case")
            throw CaseError("not a case: \"format\" is not \"horos-fuzz-case\"");
        if (json.value("version", 0) != 1)
            throw CaseError("this program reads version 1 of the JSON form");
        rejectUnknownKeys(json);
        Case c;
        c.slot = baseCase(Mode::Long64, false);
        c.slot.windows = 0;
        c.slot.flags = 0;
        std::memset(c.slot.gpr, 0, sizeof c.slot.gpr);
        c.origin = json.value("origin", "");
        if (json.contains("flags"))
            readFlags(json.at("flags"), c.slot);
        if (json.contains("rax"))
            c.slot.rax = number(json.at("rax"), "rax");
        if (json.contains("hsave"))
            c.slot.hsave = number(json.at("hsave"), "hsave");
        if (json.contains("gpr"))
            for (const auto& [name, value] : json.at("gpr").items()) {
                auto at = std::find(GPR_NAMES.begin(), GPR_NAMES.end(), name);
                if (at == GPR_NAMES.end())
                    throw CaseError(fmt::format("gpr: there is no register '{}'", name));
                c.slot.gpr[at - GPR_NAMES.begin()] = number(value, "gpr." + name);
            }
        if (json.contains("dr"))
            for (unsigned i = 0; i < 4; ++i)
                c.slot.dr[i] = number(json.at("dr").at(i), "dr");
        c.setCode(hexBytes(json.value("code", "f4")));
        c.setVmcb(vmcbFromJson(json.at("vmcb")));
        for (const auto& entry : json.value("memory", Json::array()))
            c.poke(number(entry.at("address"), "memory.address"),
                   number(entry.at("value"), "memory.value"));
        readEdits(json.value("earlier", Json::array()), c.slot);
        validate(c);
        return c;
    } catch (const Json::exception& error) {
        throw CaseError(fmt::format("the case is not of the right form: {}", error.what()));
    }
}

Case loadCase(const std::string& path) {
    try {
        const std::string text = readFile(path);
        if (text.starts_with("HFZC"))
            return decode({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
        if (text.find('{') == std::string::npos)
            throw CaseError("neither a case file (HFZC) nor JSON");
        return fromJson(Json::parse(text));
    } catch (const Json::exception& error) {
        throw CaseError(fmt::format("{}: {}", path, error.what()));
    } catch (const CaseError& error) {
        throw CaseError(fmt::format("{}: {}", path, error.what()));
    }
}

} // namespace horos::fuzz
