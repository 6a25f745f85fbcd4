// Where things are in the guest's first megabyte when it starts.
#pragma once

#include "base.hpp"

namespace horos::vmm::layout {

inline constexpr u64 boot_params = 0x7000;
inline constexpr u64 gdt = 0x8000;
inline constexpr u64 page_tables = 0x9000; // level 4, level 3, four of level 2: to 0xf000
inline constexpr u64 stack_top = 0x2'0000;
inline constexpr u64 command_line = 0x2'0000; // to 0x21000
inline constexpr u64 conventional_end = 0x9'fc00;
inline constexpr u64 firmware_begin = 0xe'0000; // ACPI tables; RSDP first
inline constexpr u64 tables_end = 0xf'0000;
inline constexpr u64 reset_vector = 0xf'fff0;
inline constexpr u64 firmware_end = 0x10'0000;
inline constexpr u64 identity_mapped = 0x1'0000'0000;

inline constexpr u16 code_selector = 0x10, data_selector = 0x18;

} // namespace horos::vmm::layout
