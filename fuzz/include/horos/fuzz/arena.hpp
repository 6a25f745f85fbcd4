// The guest's world in the base case: pages, tables, descriptors, and the base VMCBs.
//
// One page serves as all four levels of a table tree. The arena lies at linear address 0x40400000,
// whose indices are PML4 0, PDPT 1, PD 2, PT page-number: entries 0, 1 and 2 of the page point to
// the page itself, entries 3.. are leaf entries. So a whole walk is 32 bytes in one place, which
// the harness can fill in and read back for every case. The same page read as a PAE tree (PDPT 1,
// PD 2) works too; its entry 1 then has the format of a legacy PDPE.
#pragma once

#include "horos/defs/svm.hpp"
#include "horos/fuzz/wire.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace horos::fuzz {

namespace page {
inline constexpr unsigned VMCB = 0;
inline constexpr unsigned SPARE_VMCB = 1;
inline constexpr unsigned TABLES = 3;   // guest tables, long mode and PAE
inline constexpr unsigned NESTED = 4;   // nested tables
inline constexpr unsigned TABLES32 = 5; // guest tables, 32-bit
inline constexpr unsigned CODE = 6;
inline constexpr unsigned DATA = 7;   // data below, stack above
inline constexpr unsigned SYSTEM = 8; // GDT, TSS, IDT of 64-bit guests
inline constexpr unsigned SYSTEM32 = 9;
inline constexpr unsigned VECTORS16 = 10; // real mode's interrupt vectors
inline constexpr unsigned SPARE = 11;
inline constexpr unsigned IOPM = 16;  // three pages
inline constexpr unsigned MSRPM = 20; // two pages
} // namespace page

constexpr uint64_t pageAddress(unsigned number) { return wire::ARENA_PA + 4096ull * number; }
inline constexpr uint64_t CODE_ADDRESS = pageAddress(page::CODE);
inline constexpr uint64_t HANDLERS_OFFSET = 0x800; // handler of vector v: HLT at 0x800 + 4 v
inline constexpr uint64_t STACK_TOP = pageAddress(page::DATA) + 0xf80;
inline constexpr uint64_t DATA_ADDRESS = pageAddress(page::DATA);

// The windows: memory that cases change and that guests write.
enum class WindowId : unsigned { Tables, Nested, Tables32, Directory32, Stack, Data, Gdt, Gdt32 };
inline constexpr unsigned WINDOW_COUNT = 8;
struct WindowInfo {
    std::string_view name;
    wire::Window place;
};
std::span<const WindowInfo> windows();
// The window that holds the quadword at `address`, and its index in CaseSlot::window; -1: none.
int windowIndex(uint64_t address, unsigned* window = nullptr);

using ArenaImage = std::array<uint64_t, wire::ARENA_SIZE / 8>;
// Everything but the VMCB page.
const ArenaImage& arenaTemplate();

// Guest modes that cases start from.
enum class Mode : unsigned {
    Long64,      // 64-bit, CPL 0
    Long64User,  // 64-bit, CPL 3
    Compat32,    // compatibility mode
    Pae32,       // protected mode, PAE
    Legacy32,    // protected mode, 32-bit tables
    Protected32, // no paging
    Protected16, // 16-bit segments, no paging
    Real16,      // real mode (nested paging on)
    PagedReal16, // real mode with paging (SVM's own mode)
    Virtual8086, // virtual-8086 mode
};
inline constexpr unsigned MODES = 10;
std::string_view modeName(Mode mode);

// A valid case in that mode that ends at an intercepted HLT: what everything else is cut from.
wire::CaseSlot baseCase(Mode mode, bool nested);
// The state that VMLOAD leaves between cases.
const horos::svm::Vmcb& baseState();

} // namespace horos::fuzz
