// Makes a guest: each part changes the state, the registers and the arena of one test.
#pragma once

#include "cases.hpp"
#include "guest_snippets.hpp"

namespace horos::fuzz::vmx {

using namespace horos::vmx;
using F = Field;

// Which bits of a page-table entry are flipped: one or more of the low ones or of those from
// high_from on.
struct EntryChange {
    uint64_t flips, low_bits, high_from;
};

struct Maker {
    const Profile& p;
    std::mt19937_64& random;
    Test test;

    uint64_t below(uint64_t n) { return random() % n; }
    bool one_in(uint64_t n) { return below(n) == 0; }
    template <class... T>
    uint64_t pick(T... values) {
        const uint64_t all[] = {uint64_t(values)...};
        return all[below(sizeof...(values))];
    }
    RuleState& s() { return test.state; }
    void poke(uint64_t address, uint64_t value) {
        for (unsigned n = 0; n < test.guest.pokes; ++n) {
            if (test.guest.poke[n].address == address) {
                test.guest.poke[n].value = value;
                return;
            }
        }
        if (test.guest.pokes < POKES) {
            test.guest.poke[test.guest.pokes++] = {address, value};
        }
    }
    void set(F field, const model::vmx::Allowed& allowed, uint32_t bits, bool on) {
        const uint32_t may = bits & allowed.one;
        s()[field] = on ? s()[field] | may : s()[field] & ~uint64_t{may & ~allowed.zero};
    }

    void mode();
    void user();
    void controls();
    void registers(const Snippet& snippet);
    void maps(const Snippet& snippet);
    void ept_entries();
    void guest_tables();
    void change_entry(const uint64_t (&places)[4], const uint64_t (&values)[4],
                      const EntryChange& change);
    void events();
    void fields();
    void apic(const Snippet& snippet);
    void apic_state();
    void tasks(const Snippet& snippet);
    void task_state();
    void task_target(uint64_t gates);
    void virtual_8086();
    void virtual_8086_registers();
    void twice();
    void twice_edit();
    void twice_context();
    void twice_invalidation();
};

} // namespace horos::fuzz::vmx
