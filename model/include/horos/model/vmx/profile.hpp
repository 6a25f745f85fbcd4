// A processor as data: its CPUID leaves and VMX capability MSRs, and what follows from them.
//
//     const Profile& p = builtin_profile("bochs-2.7-skylake-x"); // throws ProfileError: unknown
//     Profile q = load_profile("my-cpu.json");                   // throws ProfileError: names the
//     key
//
// A profile says what the part *has*. It never describes where an emulator deviates from the
// manual: that belongs into the fuzzer's triage data.
// Sections are of the Intel SDM vol. 3, order number 325384-077US.
#pragma once

#include "horos/defs/vmx.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace horos::model::vmx {

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

// A 32-bit control word: what may be 0 and what may be 1 (§A.3 to §A.5).
struct Allowed {
    uint32_t zero = 0; // bits that must be 1
    uint32_t one = 0;  // bits that may be 1
    bool can(uint32_t bit) const { return (one & bit) != 0; }
};

struct Profile {
    std::string name;
    std::string description;
    std::vector<std::string> sources;
    std::vector<CpuidLeaf> cpuid;
    std::map<uint32_t, uint64_t> msr;
    uint64_t debugctl_defined = 0;

    // Derived by derive().
    unsigned physical_bits = 36;
    unsigned linear_bits = 48;
    uint64_t basic = 0;
    uint64_t misc = 0;
    uint64_t ept_vpid = 0;
    uint64_t vmfunc = 0;
    Allowed pin, proc, proc2, exit, entry;
    uint64_t proc3 = 0; // bits that may be 1
    uint64_t cr0_fixed0 = 0, cr0_fixed1 = 0, cr4_fixed0 = 0, cr4_fixed1 = 0;
    uint64_t efer_defined = 0;
    uint64_t perf_global_defined = 0;
    bool cet = false;
    bool sgx = false;
    bool rtm = false;

    uint32_t revision() const { return static_cast<uint32_t>(basic & horos::vmx::basic::REVISION); }
    uint64_t physical_limit() const { return 1ull << physical_bits; }
    CpuidLeaf leaf(uint32_t leaf, uint32_t subleaf = 0) const; // zeros where there is none
    void derive();                                             // throws ProfileError
};

std::span<const Profile> builtin_profiles(); // in order of name
const Profile& builtin_profile(std::string_view name);
Profile parse_profile(std::string_view json, std::string_view origin);
Profile load_profile(const std::filesystem::path& file);
Profile find_profile(const std::string& name_or_path); // a built-in name or the path of a file

} // namespace horos::model::vmx
