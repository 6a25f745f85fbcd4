// A processor as data: its CPUID leaves, and what follows from them for SVM.
//
// Use:
//     const Profile& p = builtin_profile("qemu-7.2-max");   // throws ProfileError: unknown name
//     Profile q = load_profile("my-cpu.json");              // throws ProfileError: names the key
//     p.svm_feature(x86::cpuid::SVM_EDX_NRIPS)
//
// A profile says what the part *has*. It never describes where an emulator deviates from the
// manual: that belongs into the fuzzer's triage data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace horos::model::svm {

class ProfileError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct CpuidLeaf {
    uint32_t leaf = 0;
    uint32_t subleaf = 0;
    uint32_t eax = 0;
    uint32_t ebx = 0;
    uint32_t ecx = 0;
    uint32_t edx = 0;
};

struct Profile {
    std::string name;
    std::string description;
    std::vector<std::string> sources; // where the leaves were taken from
    std::vector<CpuidLeaf> cpuid;

    // Derived from the leaves by derive().
    unsigned physical_bits = 36;
    unsigned linear_bits = 48;
    uint32_t asid_count = 0;     // CPUID 8000_000A EBX
    uint32_t svm_features = 0;   // CPUID 8000_000A EDX
    uint32_t svm_features_c = 0; // CPUID 8000_000A ECX
    uint32_t sev_max_asid = 0;   // CPUID 8000_001F ECX
    bool has_svm = false;
    bool long_mode = false;
    bool nx = false;
    bool page_1g = false;
    bool cet = false;
    bool smep = false;
    bool smap = false;
    bool sev = false;
    bool sev_needs_64bit_host = false;
    uint64_t cr4_defined = 0;  // bits of CR4 that may be set
    uint64_t efer_defined = 0; // bits of EFER that may be set

    bool svm_feature(uint32_t edx_bit) const { return (svm_features & edx_bit) != 0; }
    // The first address that the part cannot form.
    uint64_t physical_limit() const { return 1ull << physical_bits; }
    // The leaf, or all zero where the part has none.
    CpuidLeaf leaf(uint32_t leaf, uint32_t subleaf = 0) const;
    // What the CPUID instruction returns: clamps out-of-range leaves as APM vol. 3 says.
    CpuidLeaf execute_cpuid(uint32_t eax, uint32_t ecx) const;
    // Computes every derived member from `cpuid`.
    void derive();
};

// The profiles that are compiled in (model/profiles/*.json), in order of name.
std::span<const Profile> builtin_profiles();
const Profile& builtin_profile(std::string_view name);

Profile parse_profile(std::string_view json, std::string_view origin);
Profile load_profile(const std::filesystem::path& file);
// A built-in name or the path of a file.
Profile find_profile(const std::string& name_or_path);

} // namespace horos::model::svm
