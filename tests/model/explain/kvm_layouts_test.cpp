// The layouts that KVM's dump_vmcb had over the years (arch/x86/kvm/svm/svm.c, before 5.7 svm.c):
//   4.x      "intercepts:" is one 64-bit number, exit_code has 32 bits
//   5.10     three lines of words became "intercepts: word3 word4"
//   6.x      vmpl beside cpl; the first line names the kind of machine
//   2026     erap_ctl, misc_ctl and misc_ctl2 for nested_ctl and virt_ext, exit_code has 64 bits
// What is printed here has another number in each field, so that none can be taken for another.
#include "input.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace horos::explain {
namespace {

enum class Layout { LINUX_4, LINUX_6, NEWEST };

// A line as the log shows it.
using Prefix = std::string (*)(unsigned line);
std::string bare(unsigned) { return ""; }
std::string dmesg(unsigned line) { return fmt::format("[ 1234.{:06}] kvm_amd: ", line); }
std::string dmesg_cpu(unsigned line) {
    return fmt::format("<3>[{:5}.{:06}][  T{:04}] SVM: ", 7, line, 4711);
}
std::string journal(unsigned) { return "Mar 03 10:11:12 host kernel: kvm_amd: "; }
std::string iso_journal(unsigned) { return "2025-03-03T10:11:12.131415+01:00 host kernel: "; }

class Dump {
public:
    Dump(Layout layout, Prefix prefix) : layout_(layout), prefix_(prefix) {
        header();
        control();
        save();
    }
    std::string text;

private:
    void line(const std::string& what) { text += prefix_(++count_) + what + "\n"; }
    void field(const char* key, const std::string& value) {
        line(fmt::format("{:<20}{}", std::string(key) + ":", value));
    }
    static std::string x16(uint64_t n) { return fmt::format("{:016x}", n); }
    static std::string x8(uint64_t n) { return fmt::format("{:08x}", n); }
    void pair(const char* a, uint64_t x, const char* b, uint64_t y) {
        line(fmt::format("{:<15} {:016x} {:<13} {:016x}", std::string(a) + ":", x,
                         std::string(b) + ":", y));
    }
    void segment(const char* name, unsigned number) {
        line(fmt::format("{:<5} s: {:04x} a: {:04x} l: {:08x} b: {:016x}", std::string(name) + ":",
                         number, 0x90 + number, 0x1000 + number, 0x7f0000000000 + number));
    }
    void header() {
        if (layout_ == Layout::LINUX_6) {
            line("VMCB 00000000759a48a5, last attempted VMRUN on CPU 7");
        } else if (layout_ == Layout::NEWEST) {
            line("SVM vCPU3 VMCB 00000000759a48a5, last attempted VMRUN on CPU 7");
        }
        line("VMCB Control Area:");
    }
    void control() {
        const bool newest = layout_ == Layout::NEWEST;
        field("cr_read", "0011");
        field("cr_write", "0112");
        field("dr_read", "00f3");
        field("dr_write", "00f4");
        field("exceptions", "00060045");
        field("intercepts", layout_ == Layout::LINUX_4 ? "0000ae7ffd44bfeb" : "fd44bfeb 0000ae7f");
        field("pause filter count", "3001");
        if (layout_ != Layout::LINUX_4) {
            field("pause filter threshold", "129");
        }
        field("iopm_base_pa", x16(0x148e44000));
        field("msrpm_base_pa", x16(0x276e3e000));
        field("tsc_offset", x16(0xffff6b01ea8aa6f6));
        field("asid", "-2"); // a number above 2^31, through "%d"
        field("tlb_ctl", "3");
        if (newest) {
            field("erap_ctl", "1");
        }
        field("int_ctl", x8(0x07000201));
        field("int_vector", x8(0x46));
        field("int_state", x8(1));
        field("exit_code", newest ? x16(~0ull) : x8(0xffffffff));
        field("exit_info1", x16(0x51));
        field("exit_info2", x16(0x52));
        field("exit_int_info", x8(0x80000b0e));
        field("exit_int_info_err", x8(0x54));
        field(newest ? "misc_ctl" : "nested_ctl", "1");
        field("nested_cr3", x16(0x22fc06000));
        if (layout_ != Layout::LINUX_4) {
            field("avic_vapic_bar", x16(0xfee00000));
            field("ghcb", x16(0x57));
        }
        field("event_inj", x8(0x80000058));
        field("event_inj_err", x8(0x59));
        field(newest ? "misc_ctl2" : "virt_ext", "2");
        field("next_rip", x16(0x5b));
        if (layout_ != Layout::LINUX_4) {
            field("avic_backing_page", x16(0x5c000));
            field("avic_logical_id", x16(0x5d000));
            field("avic_physical_id", x16(0x5e000));
        }
        if (newest) {
            field("vmsa_pa", x16(0x5f000));
            line("allowed_sev_features:" + x16(0x60));
            field("guest_sev_features", x16(0x61));
        }
    }
    void save() {
        line("VMCB State Save Area:");
        unsigned number = 1;
        for (const char* name :
             {"es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr"}) {
            segment(name, number++);
        }
        line(layout_ == Layout::LINUX_4
                 ? fmt::format("cpl:            {}                efer:         {:016x}", 3, 0x1d01)
                 : fmt::format("vmpl: {}   cpl:  {}               efer:          {:016x}", 2, 3,
                               0x1d01));
        pair("cr0", 0x80010031, "cr2", 0x72);
        pair("cr3", 0x73000, "cr4", 0x6f4);
        pair("dr6", 0xffff0ff5, "dr7", 0x406);
        pair("rip", 0x77, "rflags", 0x246);
        pair("rsp", 0x79, "rax", 0x7a);
        pair("star", 0x7b, "lstar", 0x7c);
        pair("cstar", 0x7d, "sfmask", 0x7e);
        pair("kernel_gs_base", 0x7f, "sysenter_cs", 0x80);
        pair("sysenter_esp", 0x81, "sysenter_eip", 0x82);
        pair("gpat", 0x0007040600070406, "dbgctl", 0x84);
        pair("br_from", 0x85, "br_to", 0x86);
        pair("excp_from", 0x87, "excp_to", 0x88);
    }

    Layout layout_;
    Prefix prefix_;
    unsigned count_ = 0;
};

void expect_control(const svm::ControlArea& c, Layout layout) {
    EXPECT_EQ(c.intercept_cr, 0x01120011u);
    EXPECT_EQ(c.intercept_dr, 0x00f400f3u);
    EXPECT_EQ(c.intercept_exceptions, 0x00060045u);
    EXPECT_EQ(c.intercept_misc1, 0xfd44bfebu);
    EXPECT_EQ(c.intercept_misc2, 0x0000ae7fu);
    EXPECT_EQ(c.pause_filter_count, 3001);
    EXPECT_EQ(c.iopm_base_pa, 0x148e44000u);
    EXPECT_EQ(c.msrpm_base_pa, 0x276e3e000u);
    EXPECT_EQ(c.tsc_offset, 0xffff6b01ea8aa6f6u);
    EXPECT_EQ(c.guest_asid, 0xfffffffeu);
    EXPECT_EQ(c.tlb_control, 3);
    EXPECT_EQ(c.rap_control, layout == Layout::NEWEST ? 1 : 0);
    EXPECT_EQ(c.int_ctl, 0x07000201u);
    EXPECT_EQ(c.v_intr_vector, 0x46);
    EXPECT_EQ(c.int_state, 1u);
    EXPECT_EQ(c.exit_code, ~0ull);
    EXPECT_EQ(c.exit_info_1, 0x51u);
    EXPECT_EQ(c.exit_info_2, 0x52u);
    EXPECT_EQ(c.exit_int_info, 0x5480000b0eull);
    EXPECT_EQ(c.nested_ctl, 1u);
    EXPECT_EQ(c.nested_cr3, 0x22fc06000u);
    EXPECT_EQ(c.event_inj, 0x5980000058ull);
    EXPECT_EQ(c.virt_ext, 2u);
    EXPECT_EQ(c.next_rip, 0x5bu);
}

void expect_save(const svm::SaveArea& s) {
    const svm::Segment* segments[] = {&s.es, &s.cs,   &s.ss,   &s.ds,   &s.fs,
                                      &s.gs, &s.gdtr, &s.ldtr, &s.idtr, &s.tr};
    for (unsigned i = 0; i < std::size(segments); ++i) {
        EXPECT_EQ(segments[i]->selector, i + 1);
        EXPECT_EQ(segments[i]->attributes, 0x91 + i);
        EXPECT_EQ(segments[i]->limit, 0x1001 + i);
        EXPECT_EQ(segments[i]->base, 0x7f0000000001 + i);
    }
    EXPECT_EQ(s.cpl, 3);
    EXPECT_EQ(s.efer, 0x1d01u);
    EXPECT_EQ(s.cr0, 0x80010031u);
    EXPECT_EQ(s.cr2, 0x72u);
    EXPECT_EQ(s.cr3, 0x73000u);
    EXPECT_EQ(s.cr4, 0x6f4u);
    EXPECT_EQ(s.dr6, 0xffff0ff5u);
    EXPECT_EQ(s.dr7, 0x406u);
    EXPECT_EQ(s.rip, 0x77u);
    EXPECT_EQ(s.rflags, 0x246u);
    EXPECT_EQ(s.rsp, 0x79u);
    EXPECT_EQ(s.rax, 0x7au);
    EXPECT_EQ(s.star, 0x7bu);
    EXPECT_EQ(s.lstar, 0x7cu);
    EXPECT_EQ(s.cstar, 0x7du);
    EXPECT_EQ(s.sfmask, 0x7eu);
    EXPECT_EQ(s.kernel_gs_base, 0x7fu);
    EXPECT_EQ(s.sysenter_cs, 0x80u);
    EXPECT_EQ(s.sysenter_esp, 0x81u);
    EXPECT_EQ(s.sysenter_eip, 0x82u);
    EXPECT_EQ(s.g_pat, 0x0007040600070406u);
    EXPECT_EQ(s.dbgctl, 0x84u);
    EXPECT_EQ(s.br_from, 0x85u);
    EXPECT_EQ(s.br_to, 0x86u);
    EXPECT_EQ(s.last_excp_from, 0x87u);
    EXPECT_EQ(s.last_excp_to, 0x88u);
}

class KvmLayouts : public testing::TestWithParam<Layout> {};

TEST_P(KvmLayouts, EveryFieldIsReadWhateverTheLogPutsBeforeIt) {
    for (const Prefix prefix : {bare, dmesg, dmesg_cpu, journal, iso_journal}) {
        const Dump dump(GetParam(), prefix);
        SCOPED_TRACE(dump.text.substr(0, 120));
        const Input input = read_input(dump.text, "dump", Format::AUTO);
        EXPECT_EQ(input.format, Format::KVM);
        expect_control(input.vmcb->control, GetParam());
        expect_save(input.vmcb->save);
        for (const std::string& note : input.notes) {
            // what a layout does not print is said
            EXPECT_EQ(GetParam(), Layout::LINUX_4) << note;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Linux, KvmLayouts,
                         testing::Values(Layout::LINUX_4, Layout::LINUX_6, Layout::NEWEST));

TEST(KvmDump, NegativeNumbersAreTakenOnlyWhereTheyFit) {
    std::string text = Dump(Layout::LINUX_6, bare).text;
    text.replace(text.find("-2"), 2, "-2147483649");
    EXPECT_THROW(read_input(text, "f", Format::AUTO), InputError);
    text = Dump(Layout::LINUX_6, bare).text;
    text.replace(text.find("80010031"), 8, "-0010031");
    EXPECT_THROW(read_input(text, "f", Format::AUTO), InputError); // hexadecimal: no sign
}

} // namespace
} // namespace horos::explain
