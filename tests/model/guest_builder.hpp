// A small 64-bit guest for tests: flat physical memory, page tables, an IDT whose handlers
// VMMCALL, and code at a fixed place.
#pragma once

#include "horos/model/svm/predict.hpp"

#include <cstring>
#include <memory>
#include <vector>

namespace horos::model::svm::test {

class GuestBuilder {
public:
    static constexpr uint64_t CODE = 0x10000;
    static constexpr uint64_t HANDLERS = 0x11000;
    static constexpr uint64_t STACK = 0x18000; // top
    static constexpr uint64_t IDT = 0x12000;
    static constexpr uint64_t GDT = 0x13000;
    static constexpr uint64_t TSS = 0x14000;
    static constexpr uint64_t TABLES = 0x20000; // guest: PML4, PDPT, PD
    static constexpr uint64_t NESTED = 0x30000; // nested: PML4, PDPT, PD, PT
    static constexpr uint64_t IOPM = 0x40000;
    static constexpr uint64_t MSRPM = 0x44000;
    static constexpr uint64_t DATA = 0x50000;
    static constexpr uint64_t SIZE = 0x200000;
    static constexpr uint64_t FINAL_CODE = 0x0f; // VMMCALL: 0f 01 d9

    explicit GuestBuilder(const char* profile = "qemu-7.2-max")
        : ram(SIZE), memory_(0, ram), vmcb_(std::make_unique<Vmcb>()) {
        machine.profile = &builtin_profile(profile);
        machine.vmcb = vmcb_.get();
        machine.memory = &memory_;
        machine.host.rax = 0x1000;
        std::memset(vmcb_.get(), 0, sizeof(Vmcb));
        build_tables();
        build_descriptors();
        build_vmcb();
    }

    Vmcb& vmcb() { return *vmcb_; }
    horos::svm::ControlArea& control() { return vmcb_->control; }
    horos::svm::SaveArea& save() { return vmcb_->save; }
    void put(uint64_t address, uint64_t value, unsigned bytes = 8) {
        std::memcpy(&ram[address], &value, bytes);
    }
    // The program, ended by VMMCALL.
    GuestBuilder& code(std::initializer_list<uint8_t> bytes) {
        std::copy(bytes.begin(), bytes.end(), &ram[CODE]);
        const uint8_t end[] = {0x0f, 0x01, 0xd9};
        std::memcpy(&ram[CODE + bytes.size()], end, 3);
        return *this;
    }
    GuestBuilder& intercept(horos::svm::Misc1 b) {
        control().intercept_misc1 |= bit(b);
        return *this;
    }
    GuestBuilder& intercept(horos::svm::Misc2 b) {
        control().intercept_misc2 |= bit(b);
        return *this;
    }
    GuestBuilder& nested_paging() {
        control().nested_ctl |= horos::svm::nested_ctl::NP_ENABLE;
        control().nested_cr3 = NESTED;
        return *this;
    }
    GuestBuilder& cpl3() {
        save().cpl = 3;
        save().cs.attributes |= 3u << x86::seg::DPL_SHIFT;
        save().ss.attributes |= 3u << x86::seg::DPL_SHIFT;
        save().cs.selector = 0x1b;
        save().ss.selector = 0x23;
        return *this;
    }
    // 32-bit protected mode without paging.
    GuestBuilder& protected32() {
        save().efer = x86::efer::SVME;
        save().cr0 = x86::cr0::PE | x86::cr0::ET | x86::cr0::NE;
        save().cr4 = 0;
        save().cr3 = 0;
        save().cs.attributes = x86::seg::CODE32;
        save().cs.limit = 0xffffffff;
        return *this;
    }
    GuestBuilder& real_mode() {
        save().efer = x86::efer::SVME;
        save().cr0 = x86::cr0::ET | x86::cr0::NE;
        save().cr4 = 0;
        save().cr3 = 0;
        for (Segment* s : {&save().cs, &save().ss, &save().ds, &save().es}) {
            *s = {0, x86::seg::DATA16, 0xffff, 0};
        }
        save().cs = {static_cast<uint16_t>(CODE >> 4), x86::seg::CODE16, 0xffff, CODE};
        save().rip = 0;
        save().rsp = 0x8000;
        save().idtr = {0, 0, 0x3ff, 0};
        return *this;
    }
    // The only outcome; fails the test elsewhere if there are more.
    Outcome only() {
        const Prediction p = predict(machine);
        return p.allowed.size() == 1 ? p.allowed[0] : Outcome{};
    }

    std::vector<uint8_t> ram;
    Machine machine;

private:
    void build_tables() {
        using namespace x86::pte;
        put(TABLES, (TABLES + 0x1000) | P | RW | US);
        put(TABLES + 0x1000, (TABLES + 0x2000) | P | RW | US);
        put(TABLES + 0x2000, 0 | P | RW | US | PS | A | D);
        put(NESTED, (NESTED + 0x1000) | P | RW | US);
        put(NESTED + 0x1000, (NESTED + 0x2000) | P | RW | US);
        put(NESTED + 0x2000, (NESTED + 0x3000) | P | RW | US);
        for (uint64_t i = 0; i < 512; ++i) {
            put(NESTED + 0x3000 + 8 * i, (i << 12) | P | RW | US);
        }
    }
    void build_descriptors() {
        put(GDT + 0x08, 0x00af9b000000ffffull); // 64-bit code
        put(GDT + 0x10, 0x00cf93000000ffffull); // data
        put(GDT + 0x18, 0x00affb000000ffffull); // 64-bit code, ring 3
        put(GDT + 0x20, 0x00cff3000000ffffull); // data, ring 3
        put(TSS + 4, STACK - 0x1000);
        for (uint64_t v = 0; v < 256; ++v) {
            const uint64_t handler = HANDLERS + v * 4;
            put(IDT + 16 * v,
                (handler & 0xffff) | 0x8ull << 16 | 0x8eull << 40 | (handler >> 16 & 0xffff) << 48);
            const uint8_t vmmcall[] = {0x0f, 0x01, 0xd9};
            std::memcpy(&ram[handler], vmmcall, 3);
        }
    }
    void build_vmcb() {
        control().intercept_misc2 = bit(horos::svm::Misc2::VMRUN) | bit(horos::svm::Misc2::VMMCALL);
        control().guest_asid = 1;
        control().iopm_base_pa = IOPM;
        control().msrpm_base_pa = MSRPM;
        save().cs = {8, x86::seg::CODE64, 0xffffffff, 0};
        save().ss = save().ds = save().es = {0x10, x86::seg::DATA32, 0xffffffff, 0};
        save().gdtr = {0, 0, 0x2f, GDT};
        save().idtr = {0, 0, 0xfff, IDT};
        save().efer = x86::efer::LME | x86::efer::LMA | x86::efer::SVME;
        save().cr0 = x86::cr0::PE | x86::cr0::PG | x86::cr0::ET | x86::cr0::NE | x86::cr0::WP;
        save().cr4 = x86::cr4::PAE;
        save().cr3 = TABLES;
        save().dr6 = x86::dr6::RESET;
        save().dr7 = x86::dr7::RESET;
        save().rflags = x86::rflags::ONE;
        save().rip = CODE;
        save().rsp = STACK;
        save().g_pat = x86::PAT_RESET;
        machine.guest.tr = {0x28, x86::seg::TSS_BUSY, 0x67, TSS};
        machine.guest.gpr[static_cast<size_t>(Gpr::RCX)] = 0;
    }

    FlatMemory memory_;
    std::unique_ptr<Vmcb> vmcb_;
};

// Values out of a saved VMCB.
inline uint64_t saved(const Outcome& out, size_t offset, unsigned bytes = 8) {
    uint64_t value = 0;
    std::memcpy(&value, &out.vmcb.value[offset], bytes);
    return value;
}
inline uint64_t saved_known(const Outcome& out, size_t offset, unsigned bytes = 8) {
    uint64_t value = 0;
    std::memcpy(&value, &out.vmcb.known[offset], bytes);
    return value;
}
#define HOROS_CONTROL(member) offsetof(horos::svm::ControlArea, member)
#define HOROS_SAVE(member) (horos::svm::SAVE_AREA_OFFSET + offsetof(horos::svm::SaveArea, member))

} // namespace horos::model::svm::test
