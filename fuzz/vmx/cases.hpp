// What the fuzzer tries: an entry, a guest that runs, or a sequence of VMX instructions; and how it
// becomes a case that the harness can run.
#pragma once

#include "wire.hpp"

#include "horos/model/vmx/guest.hpp"
#include "horos/model/vmx/operation.hpp"
#include "horos/model/vmx/rules.hpp"

#include <random>

namespace horos::fuzz::vmx {

using model::vmx::Extra;
using model::vmx::Field;
using model::vmx::Profile;
using model::vmx::RuleId;
using model::vmx::RuleSet;
using model::vmx::RuleState;

enum class Kind : uint8_t { ENTRY, GUEST, SEQUENCE };
inline constexpr unsigned KINDS = 3;
std::string_view kind_name(Kind kind);

struct Test {
    Kind kind = Kind::ENTRY;
    RuleState state;            // a sequence: what STEP_FILL writes
    GuestPart guest{};          // GUEST
    Twice twice{};              // GUEST: with edits, another entry comes first
    std::vector<Operand> steps; // SEQUENCE
};

// The same state with what the harness must keep in its own hands: the machine that executes the
// instruction, memory that legal addresses name, and, where the processor goes as far as to load
// them, its own host state. Breaks the same rules, except that the harness is always at CPL 0 in
// 64-bit mode.
RuleState canonical(const RuleState& wanted, const Profile& profile, const HostValues& host);
// For guests: what a guest is, is the test's; the rest as above.
RuleState canonical_guest(const RuleState& wanted, const Profile& profile, const HostValues& host);
Case make_case(const Test& test);

// Encodings to write and read on this part, with the slots of their values.
struct FieldLists {
    std::vector<uint16_t> write, read;
    std::vector<uint8_t> write_slots, read_slots;
};
FieldLists field_lists(const Profile& profile);

// Whether the harness can show both sides of a rule: it does not leave CPL 0 and 64-bit mode.
bool reachable(RuleId id);

RuleState mutate(const RuleState& from, const Profile& profile, std::mt19937_64& random);
// A guest of one of the modes with one of the snippets; guest_cases.cpp.
Test guest_test(const RuleState& base, const Profile& profile, std::mt19937_64& random);
size_t snippet_count();
// Steps that mostly succeed, with good and bad operands; sequence_cases.cpp.
Test sequence_test(const RuleState& base, const Profile& profile, std::mt19937_64& random);

} // namespace horos::fuzz::vmx
