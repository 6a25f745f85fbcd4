// A small machine for directed cases of guests: a page of code, one of data, tables one to one.
#pragma once

#include "horos/model/vmx/guest.hpp"

#include <gtest/gtest.h>

namespace horos::model::vmx::testing {

using horos::vmx::ExitReason;
namespace v = horos::vmx;
namespace x86 = horos::x86;

inline constexpr uint64_t CODE = 0x10000, DATA = 0x11000, TABLES = 0x20000, EPT = 0x30000,
                          BITMAPS = 0x40000;

// 1 MiB: one-to-one guest tables and EPT of 4-KiB pages for the first 2 MiB.
class Ram final : public PhysicalMemory {
public:
    Ram() : words_(0x100000 / 8) {
        word(TABLES) = (TABLES + 0x1000) | 0x27;
        word(TABLES + 0x1000) = (TABLES + 0x2000) | 0x27;
        word(TABLES + 0x2000) = (TABLES + 0x3000) | 0x27;
        word(EPT) = (EPT + 0x1000) | 0x307;
        word(EPT + 0x1000) = (EPT + 0x2000) | 0x307;
        word(EPT + 0x2000) = (EPT + 0x3000) | 0x307;
        for (uint64_t n = 0; n < 512; ++n) {
            word(TABLES + 0x3000 + n * 8) = n << 12 | 0x67;
            word(EPT + 0x3000 + n * 8) = n << 12 | 0x337;
        }
    }
    uint64_t& word(uint64_t address) { return words_[address / 8]; }
    uint64_t& ept_entry(uint64_t page) { return word(EPT + 0x3000 + (page >> 12) * 8); }
    std::optional<uint64_t> quadword(uint64_t address) const override {
        return address < 0x100000 ? std::optional(words_[address / 8]) : std::nullopt;
    }

private:
    std::vector<uint64_t> words_;
};

struct Machine {
    const Profile& profile;
    Ram ram;
    RuleState state = default_state(profile);
    GuestInput input;

    explicit Machine(std::initializer_list<uint8_t> code,
                     std::string_view part = "bochs-2.7-skylake-x")
        : profile(builtin_profile(part)) {
        state[Field::GUEST_RIP] = CODE;
        state[Field::GUEST_CR3] = TABLES;
        state[Field::EPTP] = EPT | 0x1e;
        state[Field::GUEST_RSP] = DATA + 0x800;
        state[Field::MSR_BITMAP] = state[Field::IO_BITMAP_A] = BITMAPS;
        state[Field::IO_BITMAP_B] = BITMAPS + 0x1000;
        state[Field::EXCEPTION_BITMAP] = 0xffffffff;
        unsigned n = 0;
        for (const uint8_t byte : code) {
            ram.word(CODE + n / 8 * 8) |= uint64_t{byte} << n % 8 * 8;
            ++n;
        }
        input.gpr[3] = DATA;
    }
    GuestExit run() {
        input.profile = &profile;
        input.state = &state;
        input.memory = &ram;
        EXPECT_TRUE(broken_rules(state, profile).none());
        return run_guest(input).at(0);
    }
};
inline bool exits(const GuestExit& e, ExitReason reason) {
    return !e.open && e.reason == uint32_t(reason);
}
inline uint64_t value(const GuestExit& e, Field f) { return e[f].value; }

} // namespace horos::model::vmx::testing
