// Reading and explaining VMCSs.
#include "report.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace horos::explain {
namespace {

using F = model::vmx::Field;

std::string file(const char* name) {
    std::ifstream in(std::string(HOROS_EXPLAIN_DATA) + "/" + name);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}
std::string without(std::string text, const std::string& line_part) {
    const size_t at = text.find(line_part);
    const size_t begin = text.rfind('\n', at) + 1;
    return text.erase(begin, text.find('\n', at) + 1 - begin);
}
std::string error_of(const std::string& text) {
    try {
        read_vmcs_dump(text, "log");
    } catch (const InputError& error) {
        return error.what();
    }
    return "";
}
std::vector<std::string> names(const std::vector<BrokenRule>& rules) {
    std::vector<std::string> list;
    for (const BrokenRule& rule : rules) {
        list.push_back(rule.name);
    }
    return list;
}

// A guest that crashed in SMM, with the VMCS in the log: blocking by STI was kept while RFLAGS.IF
// was clear.
TEST(VmcsDump, ReadsEveryValueOfAKvmLog) {
    const VmcsInput input = read_vmcs_dump(file("kvm-smm-entry.log"), "log");
    const auto& s = input.state;
    EXPECT_EQ(s[F::GUEST_CR0], 0x50032u);
    EXPECT_EQ(s[F::CR0_MASK], 0xfffffffffffffff7u);
    EXPECT_EQ(s[F::CR4_SHADOW], 0u);
    EXPECT_EQ(s[F::GUEST_PDPTE0], 0x3300050011u);
    EXPECT_EQ(s[F::GUEST_PDPTE3], 0x10000000000u);
    EXPECT_EQ(s[F::GUEST_RSP], 0xffff898cacda2c90u);
    EXPECT_EQ(s[F::GUEST_CS_SELECTOR], 0xc200u);
    EXPECT_EQ(s[F::GUEST_CS_BASE], 0x7ffc2000u);
    EXPECT_EQ(s[F::GUEST_TR_RIGHTS], 0x8bu);
    EXPECT_EQ(s[F::GUEST_LDTR_RIGHTS], 0x10000u);
    EXPECT_EQ(s[F::GUEST_GDTR_BASE], 0xfffff8024e652fb0u);
    EXPECT_EQ(s[F::GUEST_PAT], 0x0007010600070106u);
    EXPECT_EQ(s[F::GUEST_INTERRUPTIBILITY], 9u);
    EXPECT_EQ(s[F::HOST_RIP], 0xffffffffc119a0a0u);
    EXPECT_EQ(s[F::HOST_RSP], 0xffffa6a24a52bc20u);
    EXPECT_EQ(s[F::HOST_CS_SELECTOR], 0x10u);
    EXPECT_EQ(s[F::HOST_TR_SELECTOR], 0x40u);
    EXPECT_EQ(s[F::HOST_SYSENTER_CS], 0x10u);
    EXPECT_EQ(s[F::HOST_SYSENTER_EIP], 0xffffffffbd201d90u);
    EXPECT_EQ(s[F::HOST_EFER], 0xd01u);
    EXPECT_EQ(s[F::PROC_CONTROLS], 0xb5a06dfau);
    EXPECT_EQ(s[F::ENTRY_EXCEPTION_ERROR_CODE], 4u);
    EXPECT_EQ(s[F::EXIT_INSTRUCTION_LENGTH], 1u);
    EXPECT_EQ(s[F::EXIT_REASON], 0x80000021u);
    EXPECT_EQ(s[F::TSC_OFFSET], 0xff96fad07396b5f8u);
    EXPECT_EQ(s[F::VIRTUAL_APIC_ADDRESS], 0x14afe7000u);
    EXPECT_EQ(s[F::EPTP], 0x11aa2d01eu);
    EXPECT_EQ(s[F::PLE_WINDOW], 0x20000u);
    EXPECT_EQ(s[F::VPID], 3u);
}

TEST(VmcsDump, NamesTheRuleThatTheGuestStateBreaks) {
    const VmcsInput input = read_vmcs_dump(file("kvm-smm-entry.log"), "log");
    auto profile = model::vmx::builtin_profile("intel-skylake-6700k");
    profile.pin.one |= 0x80;    // this log is of a part with posted interrupts
    profile.proc2.one |= 0x300; // and APIC-register virtualisation
    const Explanation e = explain(input, profile, true);
    EXPECT_EQ(names(e.must), std::vector<std::string>{"vmx.entry.guest.blocking.sti-if"});
    ASSERT_EQ(e.repair.size(), 1u);
    EXPECT_EQ(e.repair_bits, 1u);
}

TEST(VmcsDump, TheFourColumnsOfXenReadAlike) {
    std::string text = file("kvm-smm-entry.log");
    const std::string kvm = "CS:   sel=0xc200, attr=0x08093, limit=0xffffffff, "
                            "base=0x000000007ffc2000";
    text.replace(text.find(kvm), kvm.size(), "  CS: c200 08093 ffffffff 000000007ffc2000");
    const VmcsInput input = read_vmcs_dump(text, "log");
    EXPECT_EQ(input.state[F::GUEST_CS_SELECTOR], 0xc200u);
    EXPECT_EQ(input.state[F::GUEST_CS_RIGHTS], 0x8093u);
    EXPECT_EQ(input.state[F::GUEST_CS_LIMIT], 0xffffffffu);
    EXPECT_EQ(input.state[F::GUEST_CS_BASE], 0x7ffc2000u);
}

TEST(VmcsDump, SaysWhatIsWrongWithALog) {
    const std::string good = file("kvm-smm-entry.log");
    EXPECT_EQ(error_of(good), "");
    EXPECT_NE(error_of(without(good, "*** Host State")).find("not a whole dump"),
              std::string::npos);
    EXPECT_NE(error_of(without(good, "PinBased=")).find("does not say control.pin_controls"),
              std::string::npos);
    std::string bad = good;
    bad.replace(bad.find("00000009"), 8, "0000000g");
    EXPECT_NE(error_of(bad).find("log:24: Interruptibility= '0000000g' is not a hexadecimal"),
              std::string::npos);
    std::string wide = good;
    wide.replace(wide.find("sel=0xc200"), 10, "sel=0x1c200");
    EXPECT_NE(error_of(wide).find("does not fit 16 bits"), std::string::npos);
    std::string cut = good;
    cut.replace(cut.find(", base=0x000000007ffc2000"), 25, "");
    EXPECT_NE(error_of(cut).find("the segment has no base="), std::string::npos);
}

TEST(VmcsDump, TheFirstOfSeveralIsTaken) {
    const std::string text = file("kvm-smm-entry.log");
    std::string second = text;
    second.replace(second.find("RIP = 0x0000000000008000"), 24, "RIP = 0x0000000000009000");
    const VmcsInput input = read_vmcs_dump(text + second, "log");
    EXPECT_EQ(input.state[F::GUEST_RIP], 0x8000u);
    EXPECT_NE(input.notes[0].find("several dumps"), std::string::npos);
}

TEST(VmcsJson, BrokenRulesAndRepair) {
    const VmcsInput input = read_vmcs_json(file("vmcs-broken.json"), "x");
    const Explanation e = explain(input, model::vmx::builtin_profile(input.profile), true);
    EXPECT_EQ(names(e.must), std::vector<std::string>{"vmx.entry.host.selectors"});
    ASSERT_EQ(e.repair.size(), 1u);
    EXPECT_EQ(e.repair[0].name, "host.tr.selector");
    EXPECT_EQ(e.repair[0].to, 0x18u);
    EXPECT_FALSE(to_json(e)["valid"].get<bool>());
}

TEST(VmcsJson, SaysWhatIsWrong) {
    const auto message = [](const char* text) -> std::string {
        try {
            read_vmcs_json(text, "x");
        } catch (const InputError& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_NE(message("{").find("not JSON"), std::string::npos);
    EXPECT_NE(message("{\"guest\": 1e999}").find("x: not JSON"), std::string::npos);
    EXPECT_NE(message(R"({"guest":{"cr9":1}})").find("x: guest.cr9: no VMCS field"),
              std::string::npos);
    EXPECT_NE(message(R"({"guest":{"activity":4294967296}})").find("does not fit"),
              std::string::npos);
    EXPECT_NE(message(R"({"guest":{"cr0":"0xg"}})").find("is not a number"), std::string::npos);
    EXPECT_NE(message(R"({"guests":{}})").find("x: guests: unknown"), std::string::npos);
}

TEST(Vendor, IsRecognised) {
    EXPECT_TRUE(looks_like_vmcs_dump(file("kvm-smm-entry.log")));
    EXPECT_FALSE(looks_like_vmcs_dump(file("kvm-real-mode.log")));
    EXPECT_TRUE(looks_like_vmcs_json(file("vmcs-broken.json")));
    EXPECT_FALSE(looks_like_vmcs_json(file("broken.json")));
}

} // namespace
} // namespace horos::explain
