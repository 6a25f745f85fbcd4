// Every VMCB field as one table: name, offset, width, reserved bits, section (APM vol. 2 rev. 3.42
// appendix B, tables B-1 and B-2). Names are "control.<member>" and "save.<member>" after the
// structs in horos/defs/svm.hpp; segments give "save.cs.selector" and so on.
#pragma once

#include "horos/defs/svm.hpp"

#include <cstdint>
#include <span>
#include <string_view>

namespace horos::model::svm {

enum class FieldUse : uint8_t {
    IN,     // read by VMRUN, never written
    IN_OUT, // read by VMRUN, written back on #VMEXIT
    OUT,    // written on #VMEXIT only
    EXTRA,  // VMLOAD and VMSAVE only
    OPTION, // only with a feature that is switched on (LBR, PMC, SEV-ES, ...)
    RESERVED,
};

struct FieldInfo {
    std::string_view name;
    uint16_t offset; // in the VMCB page
    uint16_t bytes;  // more than 8: an array of bytes
    FieldUse use;
    uint64_t reserved; // bits that should be zero
    std::string_view section;
};

std::span<const FieldInfo> vmcb_fields();           // in order of offset, without gaps
const FieldInfo* find_field(std::string_view name); // nullptr: none
const FieldInfo& field_at(uint16_t offset);         // the field that holds this byte

uint64_t read_field(const horos::svm::Vmcb& vmcb, const FieldInfo& field);
void write_field(horos::svm::Vmcb& vmcb, const FieldInfo& field, uint64_t value);

} // namespace horos::model::svm
