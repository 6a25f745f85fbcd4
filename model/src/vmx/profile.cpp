// Reading VMX processor profiles, and what follows from their MSRs and CPUID leaves.
#include "horos/model/vmx/profile.hpp"

#include "horos/defs/x86.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace horos::model::vmx {

namespace {

using nlohmann::json;
namespace msr = horos::vmx::msr;

struct Embedded {
    const char* file;
    const char* text;
};
constexpr Embedded EMBEDDED[] = {
#include "builtin_vmx_profiles.inc"
};

uint64_t parse_hex(const json& text, unsigned digits, const std::string& where) {
    const std::string s = text.is_string() ? text.get<std::string>() : "";
    const bool hex = s.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
    if (s.empty() || !hex || s.size() > digits) {
        throw ProfileError(where + ": needs a string of 1 to " + std::to_string(digits) +
                           " hexadecimal digits");
    }
    return std::stoull(s, nullptr, 16);
}

CpuidLeaf parse_leaf(const std::string& key, const json& registers, const std::string& where) {
    const size_t dot = key.find('.');
    CpuidLeaf leaf;
    leaf.leaf = static_cast<uint32_t>(parse_hex(key.substr(0, dot), 8, where));
    leaf.subleaf = dot == std::string::npos
                       ? 0
                       : static_cast<uint32_t>(parse_hex(key.substr(dot + 1), 8, where));
    if (!registers.is_array() || registers.size() != 4) {
        throw ProfileError(where + ": needs four strings: eax, ebx, ecx, edx");
    }
    uint32_t* const targets[] = {&leaf.eax, &leaf.ebx, &leaf.ecx, &leaf.edx};
    for (size_t i = 0; i < 4; ++i) {
        *targets[i] = static_cast<uint32_t>(parse_hex(registers[i], 8, where));
    }
    return leaf;
}

const json& member(const json& object, const char* key, bool good_type(const json&),
                   const std::string& what) {
    const auto found = object.find(key);
    if (found == object.end() || !good_type(*found)) {
        throw ProfileError(what + ": key '" + key + "' is missing or of the wrong type");
    }
    return *found;
}
bool is_string(const json& j) { return j.is_string(); }
bool is_object(const json& j) { return j.is_object(); }

Allowed allowed(uint64_t capability) {
    return {horos::vmx::allowed0(capability), horos::vmx::allowed1(capability)};
}

std::vector<Profile> parse_embedded() {
    std::vector<Profile> profiles;
    for (const Embedded& file : EMBEDDED) {
        profiles.push_back(parse_profile(file.text, file.file));
    }
    std::sort(profiles.begin(), profiles.end(),
              [](const Profile& a, const Profile& b) { return a.name < b.name; });
    return profiles;
}

} // namespace

CpuidLeaf Profile::leaf(uint32_t number, uint32_t subleaf) const {
    for (const CpuidLeaf& candidate : cpuid) {
        if (candidate.leaf == number && candidate.subleaf == subleaf) {
            return candidate;
        }
    }
    return {number, subleaf, 0, 0, 0, 0};
}

void Profile::derive() {
    const auto value = [&](uint32_t number) {
        const auto found = msr.find(number);
        return found == msr.end() ? uint64_t{0} : found->second;
    };
    basic = value(msr::VMX_BASIC);
    if (basic == 0) {
        throw ProfileError(name + ": key 'msr' has no '480' (IA32_VMX_BASIC)");
    }
    // §A.2: the TRUE registers say all where there are any.
    const bool exact = (basic & horos::vmx::basic::TRUE_CONTROLS) != 0;
    pin = allowed(value(exact ? msr::VMX_TRUE_PINBASED_CTLS : msr::VMX_PINBASED_CTLS));
    proc = allowed(value(exact ? msr::VMX_TRUE_PROCBASED_CTLS : msr::VMX_PROCBASED_CTLS));
    exit = allowed(value(exact ? msr::VMX_TRUE_EXIT_CTLS : msr::VMX_EXIT_CTLS));
    entry = allowed(value(exact ? msr::VMX_TRUE_ENTRY_CTLS : msr::VMX_ENTRY_CTLS));
    const bool secondary = proc.can(horos::vmx::proc::ACTIVATE_SECONDARY);
    proc2 = secondary ? allowed(value(msr::VMX_PROCBASED_CTLS2)) : Allowed{};
    proc3 = proc.can(horos::vmx::proc::ACTIVATE_TERTIARY) ? value(msr::VMX_PROCBASED_CTLS3) : 0;
    misc = value(msr::VMX_MISC);
    const bool tags = proc2.can(horos::vmx::proc2::ENABLE_EPT | horos::vmx::proc2::ENABLE_VPID);
    ept_vpid = tags ? value(msr::VMX_EPT_VPID_CAP) : 0;
    vmfunc = proc2.can(horos::vmx::proc2::ENABLE_VM_FUNCTIONS) ? value(msr::VMX_VMFUNC) : 0;
    cr0_fixed0 = value(msr::VMX_CR0_FIXED0);
    cr0_fixed1 = value(msr::VMX_CR0_FIXED1);
    cr4_fixed0 = value(msr::VMX_CR4_FIXED0);
    cr4_fixed1 = value(msr::VMX_CR4_FIXED1);

    namespace id = x86::cpuid;
    const CpuidLeaf e1 = leaf(id::LEAF_EXT_FEATURES);
    const CpuidLeaf e8 = leaf(id::LEAF_ADDRESS_SIZES);
    const CpuidLeaf l7 = leaf(id::LEAF_STRUCTURED);
    const CpuidLeaf perf = leaf(0xa);
    physical_bits = (e8.eax & 0xff) != 0 ? e8.eax & 0xff : 36;
    linear_bits = (e8.eax >> 8 & 0xff) != 0 ? e8.eax >> 8 & 0xff : 32;
    const bool lm = (e1.edx & id::E1_EDX_LM) != 0;
    efer_defined = (lm ? x86::efer::SCE | x86::efer::LME | x86::efer::LMA : 0) |
                   ((e1.edx & id::E1_EDX_NX) != 0 ? x86::efer::NXE : 0);
    const unsigned general = (perf.eax & 0xff) >= 1 ? perf.eax >> 8 & 0xff : 0;
    const unsigned fixed = (perf.eax & 0xff) >= 2 ? perf.edx & 0x1f : 0;
    perf_global_defined = ((1ull << general) - 1) | (((1ull << fixed) - 1) << 32);
    cet = (l7.ecx & id::L7_ECX_CET_SS) != 0 || (l7.edx & 1u << 20) != 0;
    sgx = (l7.ebx & 1u << 2) != 0;
    rtm = (l7.ebx & 1u << 11) != 0;
}

Profile parse_profile(std::string_view text, std::string_view origin_view) {
    const std::string origin(origin_view);
    json document;
    try {
        document = json::parse(text);
    } catch (const json::parse_error& error) {
        throw ProfileError(origin + ": not JSON: " + error.what());
    }
    if (!document.is_object()) {
        throw ProfileError(origin + ": the file is not a JSON object");
    }
    Profile profile;
    profile.name = member(document, "name", is_string, origin).get<std::string>();
    profile.description = member(document, "description", is_string, origin).get<std::string>();
    if (const auto sources = document.find("sources"); sources != document.end()) {
        for (const json& source : *sources) {
            profile.sources.push_back(source.is_string() ? source.get<std::string>() : "");
        }
    }
    for (const auto& [key, registers] : member(document, "cpuid", is_object, origin).items()) {
        profile.cpuid.push_back(parse_leaf(key, registers, origin + ": cpuid '" + key + "'"));
    }
    for (const auto& [key, value] : member(document, "msr", is_object, origin).items()) {
        const std::string where = origin + ": msr '" + key + "'";
        profile.msr[static_cast<uint32_t>(parse_hex(key, 8, where))] = parse_hex(value, 16, where);
    }
    profile.debugctl_defined = parse_hex(member(document, "debugctl_defined", is_string, origin),
                                         16, origin + ": debugctl_defined");
    profile.derive();
    return profile;
}

std::span<const Profile> builtin_profiles() {
    static const std::vector<Profile> profiles = parse_embedded();
    return profiles;
}

const Profile& builtin_profile(std::string_view name) {
    std::string known;
    for (const Profile& profile : builtin_profiles()) {
        if (profile.name == name) {
            return profile;
        }
        known += (known.empty() ? "" : ", ") + profile.name;
    }
    throw ProfileError("no built-in VMX profile '" + std::string(name) + "'; there are " + known);
}

Profile load_profile(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) {
        throw ProfileError(file.string() + ": cannot be read");
    }
    std::ostringstream text;
    text << in.rdbuf();
    return parse_profile(text.str(), file.string());
}

Profile find_profile(const std::string& name_or_path) {
    for (const Profile& profile : builtin_profiles()) {
        if (profile.name == name_or_path) {
            return profile;
        }
    }
    if (std::filesystem::exists(name_or_path)) {
        return load_profile(name_or_path);
    }
    return builtin_profile(name_or_path); // says which there are
}

} // namespace horos::model::vmx
