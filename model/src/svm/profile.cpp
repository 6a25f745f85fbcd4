// Reading processor profiles, and what follows from their CPUID leaves.
#include "horos/model/svm/profile.hpp"

#include "horos/defs/x86.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace horos::model::svm {

namespace {

using nlohmann::json;
namespace id = x86::cpuid;

struct Embedded {
    const char* file;
    const char* text;
};
constexpr Embedded EMBEDDED[] = {
#include "builtin_profiles.inc"
};

uint32_t parse_hex32(const std::string& text, const std::string& where) {
    size_t used = 0;
    unsigned long value = 0;
    try {
        value = std::stoul(text, &used, 16);
    } catch (const std::exception&) {
        used = 0;
    }
    if (used == 0 || used != text.size() || value > 0xffffffffUL) {
        throw ProfileError(where + ": '" + text + "' is not a 32-bit hexadecimal number");
    }
    return static_cast<uint32_t>(value);
}

CpuidLeaf parse_leaf(const std::string& key, const json& registers, const std::string& where) {
    const size_t dot = key.find('.');
    CpuidLeaf leaf;
    leaf.leaf = parse_hex32(key.substr(0, dot), where);
    leaf.subleaf = dot == std::string::npos ? 0 : parse_hex32(key.substr(dot + 1), where);
    if (!registers.is_array() || registers.size() != 4 ||
        !std::all_of(registers.begin(), registers.end(),
                     [](const json& r) { return r.is_string(); })) {
        throw ProfileError(where + ": needs four strings: eax, ebx, ecx, edx");
    }
    uint32_t* const targets[] = {&leaf.eax, &leaf.ebx, &leaf.ecx, &leaf.edx};
    for (size_t i = 0; i < 4; ++i) {
        *targets[i] = parse_hex32(registers[i].get<std::string>(), where);
    }
    return leaf;
}

std::string string_at(const json& object, const char* key, const std::string& origin) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) {
        throw ProfileError(origin + ": key '" + key + "' is missing or not a string");
    }
    return found->get<std::string>();
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

struct BitIf {
    bool present;
    uint64_t bit;
};
template <size_t N>
uint64_t collect(const BitIf (&rows)[N]) {
    uint64_t bits = 0;
    for (const BitIf& row : rows) {
        bits |= row.present ? row.bit : 0;
    }
    return bits;
}

// CR4 bits by CPUID (APM vol. 2 rev. 3.42 §3.1.3).
uint64_t defined_cr4(const CpuidLeaf& l1, const CpuidLeaf& l7, bool long_mode) {
    using namespace x86::cr4;
    const BitIf rows[] = {
        {(l1.edx & id::L1_EDX_VME) != 0, VME | PVI},
        {(l1.edx & id::L1_EDX_TSC) != 0, TSD},
        {(l1.edx & id::L1_EDX_DE) != 0, DE},
        {(l1.edx & id::L1_EDX_PSE) != 0, PSE},
        {(l1.edx & id::L1_EDX_PAE) != 0 || long_mode, PAE},
        {(l1.edx & id::L1_EDX_MCE) != 0, MCE},
        {(l1.edx & id::L1_EDX_PGE) != 0, PGE},
        {true, PCE},
        {(l1.edx & id::L1_EDX_FXSR) != 0, OSFXSR},
        {(l1.edx & id::L1_EDX_SSE) != 0, OSXMMEXCPT},
        {(l7.ecx & id::L7_ECX_UMIP) != 0, UMIP},
        {(l7.ecx & id::L7_ECX_LA57) != 0, LA57},
        {(l7.ebx & id::L7_EBX_FSGSBASE) != 0, FSGSBASE},
        {(l1.ecx & id::L1_ECX_PCID) != 0, PCIDE},
        {(l1.ecx & id::L1_ECX_XSAVE) != 0, OSXSAVE},
        {(l7.ebx & id::L7_EBX_SMEP) != 0, SMEP},
        {(l7.ebx & id::L7_EBX_SMAP) != 0, SMAP},
        {(l7.ecx & id::L7_ECX_PKU) != 0, PKE},
        {(l7.ecx & id::L7_ECX_CET_SS) != 0, CET},
        {(l7.ecx & id::L7_ECX_PKS) != 0, PKS},
    };
    return collect(rows);
}

// EFER bits by CPUID (§3.1.7).
uint64_t defined_efer(const CpuidLeaf& e1, const CpuidLeaf& e8, const CpuidLeaf& e21) {
    using namespace x86::efer;
    const bool lm = (e1.edx & id::E1_EDX_LM) != 0;
    const BitIf rows[] = {
        {(e1.edx & id::E1_EDX_SYSCALL) != 0, SCE},
        {lm, LME | LMA},
        {(e1.edx & id::E1_EDX_NX) != 0, NXE},
        {(e1.ecx & id::E1_ECX_SVM) != 0, SVME},
        {lm && (e8.ebx & id::E8_EBX_EFER_LMSLE_UNSUPPORTED) == 0, LMSLE},
        {(e1.edx & id::E1_EDX_FFXSR) != 0, FFXSR},
        {(e1.ecx & id::E1_ECX_TCE) != 0, TCE},
        {(e8.ebx & id::E8_EBX_MCOMMIT) != 0, MCOMMIT},
        {(e8.ebx & id::E8_EBX_INT_WBINVD) != 0, INTWB},
        {(e21.eax & id::E21_EAX_UPPER_ADDRESS_IGNORE) != 0, UAIE},
        {(e21.eax & id::E21_EAX_AUTOMATIC_IBRS) != 0, AIBRSE},
    };
    return collect(rows);
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

CpuidLeaf Profile::execute_cpuid(uint32_t eax, uint32_t ecx) const {
    const bool indexed = eax == 7 || eax == 0xb || eax == 0xd || eax == 0x8000001d;
    return leaf(eax, indexed ? ecx : 0);
}

void Profile::derive() {
    const CpuidLeaf l1 = leaf(id::LEAF_FEATURES);
    const CpuidLeaf l7 = leaf(id::LEAF_STRUCTURED);
    const CpuidLeaf e1 = leaf(id::LEAF_EXT_FEATURES);
    const CpuidLeaf e8 = leaf(id::LEAF_ADDRESS_SIZES);
    const CpuidLeaf ea = leaf(id::LEAF_SVM);
    const CpuidLeaf e1f = leaf(0x8000001f);
    physical_bits = (e8.eax & 0xff) != 0 ? e8.eax & 0xff : 36;
    linear_bits = ((e8.eax >> 8) & 0xff) != 0 ? (e8.eax >> 8) & 0xff : 32;
    has_svm = (e1.ecx & id::E1_ECX_SVM) != 0;
    asid_count = ea.ebx;
    svm_features = ea.edx;
    svm_features_c = ea.ecx;
    long_mode = (e1.edx & id::E1_EDX_LM) != 0;
    nx = (e1.edx & id::E1_EDX_NX) != 0;
    page_1g = (e1.edx & id::E1_EDX_PAGE_1G) != 0;
    cet = (l7.ecx & id::L7_ECX_CET_SS) != 0;
    smep = (l7.ebx & id::L7_EBX_SMEP) != 0;
    smap = (l7.ebx & id::L7_EBX_SMAP) != 0;
    sev = (e1f.eax & 2) != 0;
    sev_max_asid = e1f.ecx;
    sev_needs_64bit_host = (e1f.eax & (1u << 11)) != 0;
    cr4_defined = defined_cr4(l1, l7, long_mode);
    efer_defined = defined_efer(e1, e8, leaf(id::LEAF_EXT_FEATURES_2));
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
    throw ProfileError("no built-in profile '" + std::string(name) + "' (there are " + known + ")");
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
        throw ProfileError(origin + ": a profile is a JSON object");
    }
    Profile profile;
    profile.name = string_at(document, "name", origin);
    profile.description = string_at(document, "description", origin);
    for (const json& source : document.value("sources", json::array())) {
        if (!source.is_string()) {
            throw ProfileError(origin + ": key 'sources': an entry is not a string");
        }
        profile.sources.push_back(source.get<std::string>());
    }
    const auto leaves = document.find("cpuid");
    if (leaves == document.end() || !leaves->is_object()) {
        throw ProfileError(origin + ": key 'cpuid' is missing or not an object");
    }
    for (const auto& [key, registers] : leaves->items()) {
        profile.cpuid.push_back(parse_leaf(key, registers, origin + ": cpuid." + key));
    }
    profile.derive();
    if (!profile.has_svm || profile.asid_count < 2) {
        throw ProfileError(origin + ": the part has no SVM (CPUID 8000_0001 ECX bit 2 and at "
                                    "least two ASIDs in 8000_000A EBX are needed)");
    }
    if (profile.physical_bits < 32 || profile.physical_bits > 52) {
        throw ProfileError(origin + ": physical address size " +
                           std::to_string(profile.physical_bits) + " is not within 32..52");
    }
    return profile;
}

Profile load_profile(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) {
        throw ProfileError("cannot open the profile " + file.string());
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
    return builtin_profile(name_or_path); // throws, listing what there is
}

} // namespace horos::model::svm
