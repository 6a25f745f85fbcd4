// Decodes one instruction with Zydis, then ends with its length as exit status: if a relocation
// were wrong it would crash or say something else.
#include <Zydis/Zydis.h>

// Zydis, as Debian ships it, wants these of its C library.
extern "C" {
void* memcpy(void* to, const void* from, unsigned long count) {
    for (unsigned long i = 0; i < count; ++i) {
        static_cast<volatile char*>(to)[i] = static_cast<const char*>(from)[i];
    }
    return to;
}
void* memset(void* to, int value, unsigned long count) {
    for (unsigned long i = 0; i < count; ++i) {
        static_cast<volatile char*>(to)[i] = static_cast<char>(value);
    }
    return to;
}
unsigned long strlen(const char* text) {
    unsigned long length = 0;
    while (text[length] != 0) {
        ++length;
    }
    return length;
}
void __assert_fail(const char*, const char*, unsigned, const char*) noexcept { __builtin_trap(); }
void __stack_chk_fail() { __builtin_trap(); }
}

namespace {

constexpr const char* names[] = {"alpha", "beta"}; // pointers that need relocating in a PIE
volatile unsigned pick = 1;                        // initialised data
volatile char zeros[20000];                        // bss

[[noreturn]] void leave(long status) {
    asm volatile("syscall" : : "a"(60L), "D"(status) : "rcx", "r11", "memory");
    __builtin_unreachable();
}

long decode() {
    ZydisDecoder decoder;
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    // mov eax, [rip + 0x12345678]
    constexpr unsigned char code[] = {0x8b, 0x05, 0x78, 0x56, 0x34, 0x12};
    if (ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64) != 0x100000 ||
        ZydisDecoderDecodeFull(&decoder, code, sizeof code, &instruction, operands) != 0x100000) {
        return 101;
    }
    const char* mnemonic = ZydisMnemonicGetString(instruction.mnemonic);
    if (mnemonic == nullptr || mnemonic[0] != 'm' || mnemonic[1] != 'o') {
        return 102;
    }
    return instruction.length;
}

} // namespace

extern "C" [[noreturn, gnu::force_align_arg_pointer]] void _start() {
    for (unsigned i = 0; i < sizeof zeros; ++i) {
        if (zeros[i] != 0) {
            leave(103);
        }
    }
    if (names[pick][0] != 'b') {
        leave(104);
    }
    leave(decode());
}
