#include "horos/fuzz/arena.hpp"

#include "horos/defs/x86.hpp"

#include <cstring>

namespace horos::fuzz {

namespace {

using horos::svm::Segment;
using horos::svm::Vmcb;
namespace seg = x86::seg;

constexpr uint64_t PRESENT = 1, WRITE = 2, USER = 4, ACCESSED = 0x20, DIRTY = 0x40;
constexpr uint64_t TABLE = PRESENT | WRITE | USER | ACCESSED;
constexpr uint64_t LEAF = PRESENT | WRITE | ACCESSED | DIRTY;
constexpr unsigned MAPPED_PAGES = 16;
constexpr unsigned DIRECTORY32_INDEX = wire::ARENA_PA >> 22;
constexpr uint64_t SYSTEM_ADDRESS = pageAddress(page::SYSTEM);
constexpr uint64_t SYSTEM32_ADDRESS = pageAddress(page::SYSTEM32);
constexpr uint64_t TSS_OFFSET = 0x100;
constexpr uint64_t IDT_OFFSET = 0x800;
constexpr uint64_t LEGACY_PDPT = 0x80; // of the PAE root, in the table page

constexpr std::array<WindowInfo, WINDOW_COUNT> WINDOW_TABLE = {{
    {"tables", {pageAddress(page::TABLES), 20, 0}},
    {"nested", {pageAddress(page::NESTED), 16, 20}},
    {"tables32", {pageAddress(page::TABLES32), 8, 36}},
    {"directory32", {pageAddress(page::TABLES32) + 4 * (DIRECTORY32_INDEX & ~1u), 1, 44}},
    {"stack", {STACK_TOP - 0x40, 14, 45}},
    {"data", {DATA_ADDRESS, 8, 59}},
    {"gdt", {SYSTEM_ADDRESS, 8, 67}},
    {"gdt32", {SYSTEM32_ADDRESS, 8, 75}},
}};
static_assert(75 + 8 <= wire::WINDOW_QWORDS);

struct Builder {
    ArenaImage& image;
    uint64_t& qword(uint64_t address) { return image[(address - wire::ARENA_PA) / 8]; }
    void bytes(uint64_t address, const void* from, size_t size) {
        std::memcpy(reinterpret_cast<uint8_t*>(image.data()) + (address - wire::ARENA_PA), from,
                    size);
    }
    template <typename T>
    void put(uint64_t address, T value) {
        bytes(address, &value, sizeof value);
    }
};

// Entries 0-2 make the page its own table tree; leaves map the arena one to one.
void buildTables(Builder b) {
    const uint64_t root = pageAddress(page::TABLES), nested = pageAddress(page::NESTED);
    for (unsigned i = 0; i < 3; ++i) {
        b.qword(root + 8 * i) = root | TABLE;
        b.qword(nested + 8 * i) = nested | TABLE;
    }
    for (unsigned i = 3; i < MAPPED_PAGES; ++i) {
        b.qword(root + 8 * i) = pageAddress(i) | LEAF;
        b.qword(nested + 8 * i) = pageAddress(i) | LEAF | USER;
    }
    b.qword(root + LEGACY_PDPT + 8) = root | PRESENT;
    const uint64_t root32 = pageAddress(page::TABLES32);
    for (unsigned i = 1; i < MAPPED_PAGES; ++i)
        b.put<uint32_t>(root32 + 4 * i, uint32_t(pageAddress(i) | LEAF));
    b.put<uint32_t>(root32, uint32_t(root32 | TABLE)); // linear 0-4 MiB, for real-mode addresses
    b.put<uint32_t>(root32 + 4 * DIRECTORY32_INDEX, uint32_t(root32 | TABLE));
}

constexpr uint64_t descriptor(uint64_t base, uint64_t limit, uint64_t attributes) {
    return (limit & 0xffff) | (base & 0xffffff) << 16 | (attributes & 0xff) << 40 |
           (limit >> 16 & 0xf) << 48 | (attributes >> 8 & 0xf) << 52 | (base >> 24 & 0xff) << 56;
}

constexpr uint16_t dpl3(uint16_t attributes) { return attributes | seg::DPL_MASK; }

void buildDescriptors(Builder b) {
    constexpr uint16_t TSS_AVAILABLE = seg::P | seg::TYPE_TSS_AVAILABLE;
    const uint64_t gdt64[] = {0,
                              descriptor(0, 0xfffff, seg::CODE64 | seg::G),
                              descriptor(0, 0xfffff, seg::DATA32),
                              descriptor(0, 0xfffff, dpl3(seg::CODE64) | seg::G),
                              descriptor(0, 0xfffff, dpl3(seg::DATA32)),
                              descriptor(0, 0xfffff, seg::CODE32),
                              descriptor(SYSTEM_ADDRESS + TSS_OFFSET, 0x67, TSS_AVAILABLE),
                              0};
    const uint64_t gdt32[] = {0,
                              descriptor(0, 0xfffff, seg::CODE32),
                              descriptor(0, 0xfffff, seg::DATA32),
                              descriptor(0, 0xfffff, dpl3(seg::CODE32)),
                              descriptor(0, 0xfffff, dpl3(seg::DATA32)),
                              descriptor(CODE_ADDRESS, 0xffff, seg::CODE16),
                              descriptor(SYSTEM32_ADDRESS + TSS_OFFSET, 0x67, TSS_AVAILABLE),
                              descriptor(DATA_ADDRESS, 0xffff, seg::DATA16)};
    b.bytes(SYSTEM_ADDRESS, gdt64, sizeof gdt64);
    b.bytes(SYSTEM32_ADDRESS, gdt32, sizeof gdt32);

    const uint64_t tss64 = SYSTEM_ADDRESS + TSS_OFFSET, tss32 = SYSTEM32_ADDRESS + TSS_OFFSET;
    for (unsigned i = 0; i < 3; ++i)
        b.put<uint64_t>(tss64 + 4 + 8 * i, STACK_TOP);
    for (unsigned i = 0; i < 7; ++i)
        b.put<uint64_t>(tss64 + 36 + 8 * i, STACK_TOP);
    b.put<uint16_t>(tss64 + 102, 0xffff); // no I/O map
    for (unsigned i = 0; i < 3; ++i) {
        b.put<uint32_t>(tss32 + 4 + 8 * i, uint32_t(STACK_TOP));
        b.put<uint32_t>(tss32 + 8 + 8 * i, 0x10);
    }
    b.put<uint16_t>(tss32 + 102, 0xffff);
}

// Every vector has its own handler, an HLT whose address tells the vector.
void buildVectors(Builder b) {
    for (unsigned v = 0; v < 256; ++v) {
        uint64_t handler = CODE_ADDRESS + HANDLERS_OFFSET + 4 * v;
        uint64_t low =
            (handler & 0xffff) | 8 << 16 | 0xeeull << 40 | (handler >> 16 & 0xffff) << 48;
        if (v < 128) {
            b.qword(SYSTEM_ADDRESS + IDT_OFFSET + 16 * v) = low;
            b.qword(SYSTEM_ADDRESS + IDT_OFFSET + 16 * v + 8) = handler >> 32;
        }
        b.qword(SYSTEM32_ADDRESS + IDT_OFFSET + 8 * v) = low;
        b.put<uint32_t>(pageAddress(page::VECTORS16) + 4 * v,
                        uint32_t(0x600 << 16 | (HANDLERS_OFFSET + 4 * v)));
    }
}

ArenaImage buildTemplate() {
    ArenaImage image{};
    Builder b{image};
    buildTables(b);
    buildDescriptors(b);
    buildVectors(b);
    for (uint64_t at = CODE_ADDRESS; at < CODE_ADDRESS + 4096; at += 8)
        b.qword(at) = 0xf4f4f4f4f4f4f4f4; // HLT everywhere
    for (uint64_t at = pageAddress(page::IOPM); at < pageAddress(page::IOPM + 3); at += 8)
        b.qword(at) = ~0ull;
    for (uint64_t at = pageAddress(page::MSRPM); at < pageAddress(page::MSRPM + 2); at += 8)
        b.qword(at) = ~0ull;
    for (unsigned i = 0; i < 8; ++i)
        b.qword(DATA_ADDRESS + 8 * i) = 0x1122334455667700 + 0x0101010101010101 * i;
    return image;
}

void setFlat(Vmcb& v, uint16_t code, uint16_t data, unsigned cpl) {
    const bool user = cpl == 3;
    v.save.cs = {uint16_t(user ? 0x1b : 0x08), user ? dpl3(code) : code, 0xffffffff, 0};
    const Segment flat = {uint16_t(user ? 0x23 : 0x10), user ? dpl3(data) : data, 0xffffffff, 0};
    v.save.ss = v.save.ds = v.save.es = flat;
    v.save.cpl = uint8_t(cpl);
    v.save.rip = CODE_ADDRESS;
    v.save.rsp = STACK_TOP;
}

void setReal(Vmcb& v, bool low) {
    // Below 1 MiB where tables can map it there; else straight to the arena through the bases.
    const uint64_t origin = low ? 0 : wire::ARENA_PA;
    auto selector = [&](unsigned number) { return uint16_t(low ? number << 8 : 0); };
    v.save.cs = {selector(page::CODE), seg::CODE16, 0xffff, origin + 4096ull * page::CODE};
    v.save.ss = {selector(page::DATA), seg::DATA16, 0xffff, origin + 4096ull * page::DATA};
    v.save.ds = v.save.es = v.save.ss;
    v.save.rip = 0;
    v.save.rsp = 0xf80;
    v.save.idtr = {0, 0, 0x3ff, origin + 4096ull * page::VECTORS16};
}

void setTables(Vmcb& v, bool wide) {
    const uint64_t system = wide ? SYSTEM_ADDRESS : SYSTEM32_ADDRESS;
    v.save.gdtr = {0, 0, 0x3f, system};
    v.save.idtr = {0, 0, 0x7ff, system + IDT_OFFSET};
}

void setMode(Vmcb& v, Mode mode, bool nested) {
    using namespace x86;
    auto& s = v.save;
    const uint64_t paged = cr0::PG | cr0::PE | cr0::WP;
    s.cr0 = cr0::ET | cr0::NE | cr0::MP;
    s.efer = efer::SVME;
    setTables(v, false);
    switch (mode) {
    case Mode::Long64:
    case Mode::Long64User:
    case Mode::Compat32:
        s.cr0 |= paged;
        s.cr4 = cr4::PAE;
        s.efer |= efer::LME | efer::LMA | efer::NXE | efer::SCE;
        s.cr3 = pageAddress(page::TABLES);
        setTables(v, true);
        setFlat(v, mode == Mode::Compat32 ? seg::CODE32 : uint16_t(seg::CODE64 | seg::G),
                seg::DATA32, mode == Mode::Long64User ? 3 : 0);
        if (mode == Mode::Compat32)
            s.cs.selector = 0x28;
        break;
    case Mode::Pae32:
        s.cr0 |= paged;
        s.cr4 = cr4::PAE;
        s.cr3 = pageAddress(page::TABLES) + LEGACY_PDPT;
        setFlat(v, seg::CODE32, seg::DATA32, 0);
        break;
    case Mode::Legacy32:
        s.cr0 |= paged;
        s.cr3 = pageAddress(page::TABLES32);
        setFlat(v, seg::CODE32, seg::DATA32, 0);
        break;
    case Mode::Protected32:
        s.cr0 |= cr0::PE;
        setFlat(v, seg::CODE32, seg::DATA32, 0);
        break;
    case Mode::Protected16:
        s.cr0 |= cr0::PE;
        s.cs = {0x28, seg::CODE16, 0xffff, CODE_ADDRESS};
        s.ss = s.ds = s.es = {0x38, seg::DATA16, 0xffff, DATA_ADDRESS};
        s.rip = 0;
        s.rsp = 0xf80;
        break;
    case Mode::Real16:
        setReal(v, nested);
        break;
    case Mode::PagedReal16:
        s.cr0 |= cr0::PG;
        s.cr3 = pageAddress(page::TABLES32);
        setReal(v, true);
        break;
    case Mode::Virtual8086:
        s.cr0 |= paged;
        s.cr3 = pageAddress(page::TABLES32);
        setReal(v, true);
        setTables(v, false);
        s.rflags |= 1ull << 17 | 3ull << 12;
        s.cpl = 3;
        for (Segment* segment : {&s.cs, &s.ss, &s.ds, &s.es})
            segment->attributes = dpl3(seg::DATA16);
        s.tr.base = SYSTEM32_ADDRESS + TSS_OFFSET;
        break;
    }
}

void userLeaves(wire::CaseSlot& slot, Mode mode) {
    const WindowInfo& wide = WINDOW_TABLE[unsigned(WindowId::Tables)];
    const WindowInfo& narrow = WINDOW_TABLE[unsigned(WindowId::Tables32)];
    if (mode == Mode::Long64User) {
        for (unsigned i = page::CODE; i < MAPPED_PAGES; ++i)
            slot.window[wide.place.offset + i] |= USER;
        slot.windows |= 1u << unsigned(WindowId::Tables);
    }
    if (mode == Mode::Virtual8086) {
        for (unsigned i = page::CODE / 2; i < narrow.place.qwords; ++i)
            slot.window[narrow.place.offset + i] |= USER << 32 | USER;
        slot.windows |= 1u << unsigned(WindowId::Tables32);
    }
}

Vmcb buildBaseState() {
    Vmcb v{};
    auto& s = v.save;
    s.fs = {0x10, seg::DATA32, 0xffffffff, 0};
    s.gs = {0x10, seg::DATA32, 0xffffffff, 0};
    s.ldtr = {0, seg::LDT, 0, 0};
    s.tr = {0x30, seg::TSS_BUSY, 0x67, SYSTEM_ADDRESS + TSS_OFFSET};
    s.star = 0x0013'0008'0000'0000;
    s.lstar = CODE_ADDRESS + 0xc00;
    s.cstar = CODE_ADDRESS + 0xc10;
    s.sfmask = 0x200;
    s.kernel_gs_base = DATA_ADDRESS;
    s.sysenter_cs = 0x08;
    s.sysenter_esp = STACK_TOP;
    s.sysenter_eip = CODE_ADDRESS + 0xc20;
    return v;
}

} // namespace

std::span<const WindowInfo> windows() { return WINDOW_TABLE; }

int windowIndex(uint64_t address, unsigned* window) {
    for (unsigned i = 0; i < WINDOW_COUNT; ++i) {
        const wire::Window& place = WINDOW_TABLE[i].place;
        if (address >= place.address && address < place.address + 8ull * place.qwords) {
            if (window)
                *window = i;
            return int(place.offset + (address - place.address) / 8);
        }
    }
    return -1;
}

const ArenaImage& arenaTemplate() {
    static const ArenaImage image = buildTemplate();
    return image;
}

const Vmcb& baseState() {
    static const Vmcb state = buildBaseState();
    return state;
}

std::string_view modeName(Mode mode) {
    constexpr std::string_view NAMES[MODES] = {
        "long64",      "long64-user", "compat32", "pae32",        "legacy32",
        "protected32", "protected16", "real16",   "paged-real16", "virtual8086"};
    return NAMES[unsigned(mode)];
}

wire::CaseSlot baseCase(Mode mode, bool nested) {
    Vmcb v = baseState();
    using horos::svm::bit;
    using horos::svm::Misc1;
    using horos::svm::Misc2;
    v.control.intercept_misc1 = bit(Misc1::HLT) | bit(Misc1::SHUTDOWN) | bit(Misc1::IOIO_PROT) |
                                bit(Misc1::MSR_PROT) | bit(Misc1::NMI) | bit(Misc1::INTR);
    v.control.intercept_misc2 = bit(Misc2::VMRUN) | bit(Misc2::VMMCALL);
    v.control.iopm_base_pa = pageAddress(page::IOPM);
    v.control.msrpm_base_pa = pageAddress(page::MSRPM);
    v.control.guest_asid = 1;
    v.control.tlb_control = 1;
    v.save.g_pat = 0x0007'0406'0007'0406;
    v.save.rflags = 2;
    v.save.dr6 = 0xffff0ff0;
    v.save.dr7 = 0x400;
    v.save.rax = 0x1111'2222'3333'4444;
    if (nested) {
        v.control.nested_ctl = horos::svm::nested_ctl::NP_ENABLE;
        v.control.nested_cr3 = pageAddress(page::NESTED);
    }
    setMode(v, mode, nested);

    wire::CaseSlot slot{};
    std::memcpy(slot.control, &v, sizeof slot.control);
    std::memcpy(slot.save, reinterpret_cast<const uint8_t*>(&v) + wire::SAVE_OFFSET,
                sizeof slot.save);
    for (const WindowInfo& w : WINDOW_TABLE)
        std::memcpy(slot.window + w.place.offset,
                    &arenaTemplate()[(w.place.address - wire::ARENA_PA) / 8], 8 * w.place.qwords);
    for (unsigned i = 0; i < 16; ++i)
        slot.gpr[i] = 0x0101'0101'0101'0000 * i + 0x1000 + i;
    slot.gpr[0] = slot.gpr[4] = 0;
    slot.gpr[3] = slot.gpr[6] = slot.gpr[7] = mode >= Mode::Protected16 ? 0 : DATA_ADDRESS;
    slot.rax = pageAddress(page::VMCB);
    slot.codeAddress = CODE_ADDRESS;
    slot.codeQwords = 1;
    slot.code[0] = 0xf4f4f4f4f4f4f4f4;
    userLeaves(slot, mode);
    return slot;
}

} // namespace horos::fuzz
