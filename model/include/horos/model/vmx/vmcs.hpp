// The fields of the VMCS as one table: encoding, name, width, access, what makes them exist,
// section (SDM vol. 3C 325384-077US chapter 24 and appendix B), and a VMCS as numbers.
#pragma once

#include "horos/model/vmx/profile.hpp"

#include <array>
#include <optional>

namespace horos::model::vmx {

using horos::vmx::Field;

// Every field has a slot, in order of encoding. The one number that no field has (482Ch) has a slot
// too, which stays 0.
namespace detail {
struct FieldRun {
    uint16_t first;
    uint16_t count;
};
inline constexpr FieldRun FIELD_RUNS[] = {
    {0x0000, 3},  {0x0800, 10}, {0x0c00, 7},  {0x2000, 28}, {0x2400, 1},
    {0x2800, 13}, {0x2c00, 4},  {0x4000, 18}, {0x4400, 8},  {0x4800, 24},
    {0x4c00, 1},  {0x6000, 8},  {0x6400, 6},  {0x6800, 23}, {0x6c00, 15},
};
struct Slots {
    std::array<uint16_t, 32> start{};
    std::array<uint16_t, 32> count{};
    uint16_t total = 0;
};
constexpr Slots make_slots() {
    Slots slots;
    for (const FieldRun& run : FIELD_RUNS) {
        slots.start[run.first >> 10] = slots.total;
        slots.count[run.first >> 10] = run.count;
        slots.total = static_cast<uint16_t>(slots.total + run.count);
    }
    return slots;
}
inline constexpr Slots SLOTS = make_slots();
inline constexpr uint16_t HOLE = 0x482c;
} // namespace detail

inline constexpr size_t FIELD_SLOTS = detail::SLOTS.total;
constexpr size_t slot_of(Field f) {
    return detail::SLOTS.start[horos::vmx::encoding(f) >> 10] + horos::vmx::index(f);
}

// Numbers for all fields.
struct Vmcs {
    std::array<uint64_t, FIELD_SLOTS> value{};
    uint64_t& operator[](Field f) { return value[slot_of(f)]; }
    uint64_t operator[](Field f) const { return value[slot_of(f)]; }
    bool operator==(const Vmcs&) const = default;
};

// What a part must offer for a field, or a rule, to be there: one of the bits in one of two words.
enum class Word : uint8_t {
    NONE,
    PIN,
    PROC,
    PROC2,
    PROC3,
    EXIT,
    ENTRY,
    VMFUNC,
    EPT_VPID,
    CPUID_CET
};
struct Needs {
    Word word = Word::NONE;
    uint64_t bits = 0;
    Word word2 = Word::NONE;
    uint64_t bits2 = 0;
    bool met(const Profile& profile) const;
};

struct FieldInfo {
    Field field;
    std::string_view name; // "guest.cs.selector", "control.pin", "exit.reason"
    unsigned bits;         // 16, 32 or 64 (natural width is 64)
    Needs needs;
    std::string_view section;
};
std::span<const FieldInfo> vmcs_fields(); // in order of encoding
const FieldInfo& field_info(Field field);
const FieldInfo* find_field(std::string_view name); // nullptr: none
const FieldInfo* find_encoding(uint16_t encoding);  // of the full field, not of its high half
bool field_exists(Field field, const Profile& profile);
std::string needs_text(const Needs& needs); // "secondary control bit 1", "" for always

} // namespace horos::model::vmx
