// The processor profiles against what CPUID says in a guest on the booted target.
#include "horos/fuzz/arena.hpp"
#include "horos/fuzz/executor.hpp"
#include "horos/model/svm/profile.hpp"

#include <array>
#include <cstddef>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <string>

namespace horos::fuzz {
namespace {

using svm_model::CpuidLeaf;

struct Machine {
    const char* name;
    TargetKind kind;
    const char* cpu;
    const char* profile;
};
void PrintTo(const Machine& machine, std::ostream* out) { *out << machine.name; }

class BootedProfile : public testing::TestWithParam<Machine> {
protected:
    BootedProfile()
        : profile_(svm_model::builtin_profile(GetParam().profile)), oracle_(profile_),
          target_(makeTarget({GetParam().kind, HARNESS_ELF, HARNESS_ROM, GetParam().cpu})),
          executor_(*target_, oracle_, [](horos::fuzz::Run&) {}) {
        executor_.start();
    }

    // A 64-bit guest of which CPUID is not intercepted, with CR4 as small as that mode permits.
    CpuidLeaf executed(uint32_t leaf, uint32_t subleaf) {
        Case c;
        c.slot = baseCase(Mode::Long64, false);
        c.setCode(std::array<uint8_t, 3>{0x0f, 0xa2, 0xf4}); // cpuid; hlt
        c.slot.save[offsetof(horos::svm::SaveArea, rax) / 8] = leaf;
        c.slot.gpr[1] = subleaf;
        Oracle::settle(c);
        const horos::fuzz::Run run = executor_.runAlone(c);
        EXPECT_EQ(run.state, TargetState::Running);
        EXPECT_EQ(run.result.control[offsetof(horos::svm::ControlArea, exit_code) / 8],
                  uint64_t(horos::svm::ExitCode::HLT));
        return {leaf,
                subleaf,
                uint32_t(run.result.save[offsetof(horos::svm::SaveArea, rax) / 8]),
                uint32_t(run.result.gpr[3]),
                uint32_t(run.result.gpr[1]),
                uint32_t(run.result.gpr[2])};
    }

    const svm_model::Profile& profile_;
    Oracle oracle_;
    std::unique_ptr<Target> target_;
    Executor executor_;
};

// Bits that depend on the moment and not on the part (APM vol. 3, appendix E).
CpuidLeaf lasting(CpuidLeaf leaf) {
    constexpr uint32_t OSXSAVE = 1u << 27, OSPKE = 1u << 4, APIC_ID = 0xff000000;
    if (leaf.leaf == 1) {
        leaf.ebx &= ~APIC_ID;
        leaf.ecx &= ~OSXSAVE;
    } else if (leaf.leaf == 7) {
        leaf.ecx &= ~OSPKE;
    } else if (leaf.leaf == 0xd && leaf.subleaf < 2) {
        leaf.ebx = 0; // the size of what XCR0 enables
    }
    return leaf;
}

std::string text(const CpuidLeaf& l) {
    return fmt::format("{:08x} {:08x} {:08x} {:08x}", l.eax, l.ebx, l.ecx, l.edx);
}

} // namespace

TEST_P(BootedProfile, EveryLeafIsWhatCpuidSays) {
    ASSERT_GE(profile_.cpuid.size(), 10u);
    for (const CpuidLeaf& stored : profile_.cpuid)
        EXPECT_EQ(text(lasting(executed(stored.leaf, stored.subleaf))), text(lasting(stored)))
            << fmt::format("leaf {:#x}.{:x}", stored.leaf, stored.subleaf);
}

// The leaves that the rules and the model read, whether or not the profile holds them.
TEST_P(BootedProfile, NoFeatureIsLeftOut) {
    for (uint32_t leaf : {0u, 1u, 7u, 0xdu, 0x80000000u, 0x80000001u, 0x80000008u, 0x8000000au,
                          0x8000001fu, 0x80000021u}) {
        if (leaf > executed(leaf & 0x80000000, 0).eax)
            continue; // what comes then depends on the part, and nobody asks for it
        EXPECT_EQ(text(lasting(executed(leaf, 0))), text(lasting(profile_.execute_cpuid(leaf, 0))))
            << fmt::format("leaf {:#x}", leaf);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Each, BootedProfile,
    testing::Values(Machine{"qemu_max", TargetKind::QemuSvm, "", "qemu-7.2-max"},
                    Machine{"qemu_epyc", TargetKind::QemuSvm, "EPYC,+svm", "qemu-7.2-epyc"},
                    Machine{"bochs_ryzen", TargetKind::BochsSvm, "", "bochs-2.7-ryzen"}),
    [](const auto& info) { return std::string(info.param.name); });

} // namespace horos::fuzz
