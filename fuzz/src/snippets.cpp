#include "snippets.hpp"

#include "horos/defs/svm.hpp"
#include "horos/defs/x86.hpp"
#include "horos/fuzz/arena.hpp"

#include <cstring>
#include <vector>

namespace horos::fuzz {

namespace {

using enum Operand;

constexpr Snippet SNIPPETS[] = {
    {"nop", "90"},
    {"hlt", "f4"},
    {"vmmcall", "0f01d9"},
    {"cpuid", "0fa2", Leaf},
    {"rdtsc", "0f31"},
    {"rdtscp", "0f01f9"},
    {"rdpmc", "0f33", Counter},
    {"rdmsr", "0f32", Msr},
    {"wrmsr", "0f30", Msr},
    {"mov rax, cr0", "0f20c0"},
    {"mov rax, cr2", "0f20d0"},
    {"mov rax, cr3", "0f20d8"},
    {"mov rax, cr4", "0f20e0"},
    {"mov rax, cr8", "440f20c0"},
    {"mov rcx, cr0", "0f20c1"},
    {"mov cr0, rax", "0f22c0"},
    {"mov cr2, rax", "0f22d0"},
    {"mov cr3, rax", "0f22d8"},
    {"mov cr4, rax", "0f22e0"},
    {"mov cr8, rax", "440f22c0"},
    {"mov rax, cr1", "0f20c8"},
    {"read cr0, write back", "0f20c00f22c0"},
    {"read cr3, write back", "0f20d80f22d8"},
    {"read cr4, write back", "0f20e00f22e0"},
    {"mov rax, dr0", "0f21c0"},
    {"mov rax, dr3", "0f21d8"},
    {"mov rax, dr4", "0f21e0"},
    {"mov rax, dr6", "0f21f0"},
    {"mov rax, dr7", "0f21f8"},
    {"mov dr0, rax", "0f23c0"},
    {"mov dr5, rax", "0f23e8"},
    {"mov dr6, rax", "0f23f0"},
    {"mov dr7, rax", "0f23f8"},
    {"lmsw ax", "0f01f0"},
    {"lmsw [mem]", "0f0137", Word},
    {"smsw eax", "0f01e0"},
    {"smsw [mem]", "0f0127"},
    {"clts", "0f06"},
    {"in al, imm8", "e480"},
    {"in eax, imm8", "e580"},
    {"out imm8, al", "e680"},
    {"out imm8, eax", "e780"},
    {"in al, dx", "ec", Port},
    {"in eax, dx", "ed", Port},
    {"in ax, dx", "66ed", Port},
    {"out dx, al", "ee", Port},
    {"out dx, eax", "ef", Port},
    {"insb", "6c", Port},
    {"insd", "6d", Port},
    {"rep insb", "f36c", Port},
    {"outsb", "6e", Port},
    {"outsd", "6f", Port},
    {"rep outsb", "f36e", Port},
    {"es outsb", "266e", Port},
    {"rep insd", "f36d", Port},
    {"std; rep outsw", "fdf3666f", Port},
    {"a32 rep outsb", "67f36e", Port},
    {"invlpg", "0f013f"},
    {"invlpga", "0f01df", Asid},
    {"invd", "0f08"},
    {"wbinvd", "0f09"},
    {"pause", "f390"},
    {"monitor", "0f01c8"},
    {"mwait", "0f01c9"},
    {"xsetbv", "0f01d1", Xcr},
    {"xgetbv", "0f01d0", Xcr},
    {"sgdt", "0f0107"},
    {"sidt", "0f010f"},
    {"lgdt", "0f0117", Word},
    {"lidt", "0f011f", Word},
    {"sldt", "0f00c0"},
    {"sldt [mem]", "0f0007"},
    {"str", "0f00c8"},
    {"str [mem]", "0f000f"},
    {"lldt", "0f00d0", Selector},
    {"ltr", "0f00d8", Selector},
    {"lldt [mem]", "0f0017", Word},
    {"pushf", "9c"},
    {"popf", "9d", Stack},
    {"iret", "cf", Stack},
    {"iretq", "48cf", Stack},
    {"int 0x30", "cd30"},
    {"int 3", "cd03"},
    {"int 0xff", "cdff"},
    {"int3", "cc"},
    {"into", "ce"},
    {"icebp", "f1"},
    {"rsm", "0faa"},
    {"vmrun", "0f01d8", VmcbPa},
    {"vmload", "0f01da", VmcbPa},
    {"vmsave", "0f01db", VmcbPa},
    {"stgi", "0f01dc"},
    {"clgi", "0f01dd"},
    {"skinit", "0f01de"},
    {"ud2", "0f0b"},
    {"div ecx", "f7f1", Divide},
    {"bound", "6207"},
    {"fld1", "d9e8"},
    {"fwait", "9b"},
    {"addps", "0f58c0"},
    {"mov al, [mem]", "8a07"},
    {"mov [mem], al", "8807"},
    {"mov eax, [mem]", "8b07"},
    {"mov [mem], eax", "8907"},
    {"add [mem], eax", "0107"},
    {"xchg [mem], eax", "8707"},
    {"push ax", "50"},
    {"pop ax", "58", Stack},
    {"call +0", "e800000000"},
    {"ret", "c3", Stack},
    {"jmp ax", "ffe0"},
    {"syscall", "0f05"},
    {"sysret", "480f07"},
    {"sysenter", "0f34"},
    {"sysexit", "0f35"},
    {"swapgs", "0f01f8"},
    {"sti", "fb"},
    {"sti; nop", "fb90"},
    {"sti; cpuid", "fb0fa2", Leaf},
    {"cli", "fa"},
    {"mov ss, ax", "8ed0", Selector},
    {"mov ss, ax; cpuid", "8ed00fa2", Selector},
    {"pop ss", "17", Stack},
    {"mov ds, ax", "8ed8", Selector},
    {"mov fs, ax", "8ee0", Selector},
    {"mov es, ax", "8ec0", Selector},
    {"mov gs, [mem]", "8e2f", Word},
    {"pop ds", "1f", Stack},
    {"pop fs", "0fa1", Stack},
    {"lldt; sldt", "0f00d00f00c1", Selector},
    {"ltr; str", "0f00d80f00c9", Selector},
    {"invpcid", "660f388207"},
    {"rdpru", "0f01fd"},
    {"stac", "0f01cb"},
    {"clac", "0f01ca"},
    {"far jmp [mem]", "ff2f", Word},
    {"far jmp 0x30:0", "ea000000003000"},
    {"cpuid; rdtsc", "0fa20f31", Leaf},
    {"undefined 0f ff", "0fff"},
    {"lock nop", "f090"},
};

constexpr uint32_t MSRS[] = {0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100,
                             0xc0000101, 0xc0000102, 0xc0000103, 0x10,       0x174,      0x175,
                             0x176,      0x277,      0x0,        0x1fff,     0x2000,     0xc0001fff,
                             0xc0002000, 0xc0010117, 0xc0010114, 0xc0011fff, 0xc0012000, 0x40000000,
                             0xffffffff, 0xc000007f, 0xbfffffff};
constexpr uint16_t PORTS[] = {0x80, 0x84, 0x85, 0x86, 0x1234, 0xfffd, 0xfffe, 0xffff};
constexpr uint16_t SELECTORS[] = {0,    3,    8,    0x10, 0x18, 0x1b, 0x20,
                                  0x23, 0x28, 0x30, 0x33, 0x38, 0x48};

std::vector<uint8_t> bytesOf(std::string_view hex) {
    auto digit = [](char c) { return unsigned(c <= '9' ? c - '0' : c - 'a' + 10); };
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes.push_back(uint8_t(digit(hex[i]) << 4 | digit(hex[i + 1])));
    return bytes;
}

constexpr size_t SAVE_RAX = offsetof(horos::svm::SaveArea, rax) / 8;
constexpr size_t SAVE_RSP = offsetof(horos::svm::SaveArea, rsp) / 8;
constexpr size_t SAVE_CR0 = offsetof(horos::svm::SaveArea, cr0) / 8;

// What a pop, a return or an IRET finds.
void fillStack(Case& c, Random& random) {
    const uint64_t low = c.slot.save[SAVE_RSP] & 0xfff;
    uint64_t address = DATA_ADDRESS + (low & ~7ull);
    const uint64_t flags =
        2 | random.next() % 8 << 8 | (random.oneIn(4) ? random.next() & 0x3f7fd5 : 0);
    const uint64_t values[] = {CODE_ADDRESS + 0x40, random.pick(SELECTORS), flags, STACK_TOP,
                               random.pick(SELECTORS)};
    const bool narrow = random.oneIn(2);
    for (unsigned i = 0; i < 5; ++i) {
        if (windowIndex(address) < 0)
            return;
        if (narrow) { // 32-bit frame: two values a quadword
            uint64_t high = i + 1 < 5 ? values[i + 1] : 0;
            c.poke(address, uint32_t(values[i]) | high << 32);
            ++i;
        } else {
            c.poke(address, values[i]);
        }
        address += 8;
    }
}

void permitMsr(Case& c, uint32_t msr, Random& random) {
    uint32_t bit = horos::svm::msrpm_bit(msr);
    if (bit == horos::svm::MSRPM_NO_BIT || random.oneIn(3))
        return;
    uint64_t address = pageAddress(page::MSRPM) + bit / 64 * 8;
    c.poke(address, c.peek(address) & ~((1 + random.below(3)) << bit % 64));
}

void permitPort(Case& c, uint16_t port, Random& random) {
    if (random.oneIn(3))
        return;
    for (unsigned i = 0; i < 4; ++i) {
        if (random.oneIn(6))
            continue; // one of the bits of a wide access stays set
        uint32_t bit = uint32_t(port) + i;
        uint64_t address = pageAddress(page::IOPM) + bit / 64 * 8;
        c.poke(address, c.peek(address) & ~(1ull << bit % 64));
    }
}

} // namespace

std::span<const Snippet> snippets() { return SNIPPETS; }

void install(Case& c, const Snippet& snippet, Random& random) {
    c.setCode(bytesOf(snippet.hex));
    c.origin = snippet.name;
    uint64_t& rax = c.slot.save[SAVE_RAX];
    uint64_t& rcx = c.slot.gpr[1];
    uint64_t& rdx = c.slot.gpr[2];
    switch (snippet.operand) {
    case Operand::None:
        if (random.oneIn(2))
            rax = c.slot.save[SAVE_CR0] ^ (random.oneIn(2) ? 0 : 1ull << random.below(20));
        break;
    case Operand::Msr:
        rcx = random.pick(MSRS);
        rdx = random.oneIn(2) ? 0 : random.next() & 0xffff;
        permitMsr(c, uint32_t(rcx), random);
        break;
    case Operand::Port:
        rdx = random.pick(PORTS);
        rcx = random.below(4);
        permitPort(c, uint16_t(rdx), random);
        break;
    case Operand::Counter:
        rcx = random.below(8);
        break;
    case Operand::Asid:
        rax = DATA_ADDRESS;
        rcx = random.below(4);
        break;
    case Operand::VmcbPa:
        rax = pageAddress(page::SPARE_VMCB) + (random.oneIn(4) ? 8 : 0);
        break;
    case Operand::Selector:
        rax = random.pick(SELECTORS);
        break;
    case Operand::Stack:
        fillStack(c, random);
        break;
    case Operand::Divide:
        rcx = random.oneIn(2) ? 0 : 3;
        break;
    case Operand::Xcr:
        rcx = random.below(3);
        rax = random.pick({uint64_t{1}, uint64_t{3}, uint64_t{7}, uint64_t{2}, uint64_t{0}});
        rdx = 0;
        break;
    case Operand::Leaf:
        rax = random.pick({0ull, 1ull, 7ull, 0xdull, 0x80000000ull, 0x80000001ull, 0x80000008ull,
                           0x8000000aull, 0x40000000ull, 0x8000001eull});
        rcx = random.below(3);
        break;
    case Operand::Word:
        c.poke(DATA_ADDRESS, random.oneIn(2) ? random.pick(SELECTORS) : random.next());
        c.poke(DATA_ADDRESS + 8, random.oneIn(2) ? 0 : random.next());
        break;
    }
    if (snippet.name == "jmp ax")
        rax = CODE_ADDRESS + 0x40;
}

} // namespace horos::fuzz
