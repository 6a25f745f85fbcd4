// horos-explain's parts: reading the three formats, the findings, the smallest repair.
#include "report.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace horos::explain {
namespace {

std::string data(const std::string& name) {
    std::ifstream in(std::string(HOROS_EXPLAIN_DATA) + "/" + name, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}
Explanation explained(const Input& input, const std::string& profile) {
    return explain(input, model::svm::builtin_profile(profile), true);
}
std::string error_of(const std::string& text, Format format = Format::AUTO) {
    try {
        read_input(text, "f", format);
    } catch (const InputError& error) {
        return error.what();
    }
    return "";
}
// The dump with one text replaced.
std::string dump_with(const std::string& from, const std::string& to) {
    std::string text = data("kvm-real-mode.log");
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

TEST(KvmDump, ReadsEveryKindOfField) {
    const Input input = read_input(data("kvm-real-mode.log"), "dump", Format::AUTO);
    const svm::Vmcb& v = *input.vmcb;
    EXPECT_EQ(input.format, Format::KVM);
    EXPECT_EQ(v.control.intercept_cr, 0x01100010u);
    EXPECT_EQ(v.control.intercept_dr, 0x00ff00ffu);
    EXPECT_EQ(v.control.intercept_exceptions, 0x00060042u);
    EXPECT_EQ(v.control.intercept_misc1, 0xfd44bfebu);
    EXPECT_EQ(v.control.intercept_misc2, 0x0000ae7fu);
    EXPECT_EQ(v.control.pause_filter_count, 3000);
    EXPECT_EQ(v.control.pause_filter_threshold, 128);
    EXPECT_EQ(v.control.tsc_offset, 0xffff6b01ea8aa6f6u);
    EXPECT_EQ(v.control.guest_asid, 3u);
    EXPECT_EQ(v.control.int_ctl, 0x07000200u);
    EXPECT_EQ(v.control.exit_code, ~0ull);
    EXPECT_EQ(v.control.nested_ctl, 1u);
    EXPECT_EQ(v.control.nested_cr3, 0x22fc06000u);
    EXPECT_EQ(v.save.cs.selector, 0x9900);
    EXPECT_EQ(v.save.cs.attributes, 0x9b);
    EXPECT_EQ(v.save.cs.limit, 0xffffu);
    EXPECT_EQ(v.save.cs.base, 0x99000u);
    EXPECT_EQ(v.save.tr.attributes, 0x8b);
    EXPECT_EQ(v.save.efer, 0x1000u);
    EXPECT_EQ(v.save.cr0, 0x60000010u);
    EXPECT_EQ(v.save.cr4, 0x40u);
    EXPECT_EQ(v.save.rip, 0x50u);
    EXPECT_EQ(v.save.dr6, 0xffff0ff0u);
    EXPECT_EQ(v.save.g_pat, 0x0007040600070406u);
    EXPECT_TRUE(input.notes.empty()) << input.notes[0];
}

TEST(KvmDump, ARealModeGuestIsValid) {
    const Input input = read_input(data("kvm-real-mode.log"), "dump", Format::AUTO);
    const Explanation e = explained(input, "amd-zen3-milan");
    EXPECT_TRUE(e.valid()) << to_text(e);
    EXPECT_NE(to_text(e).find("real mode at CPL 0, CS:RIP 0x9900:0x50"), std::string::npos)
        << to_text(e);
    EXPECT_NE(to_text(e).find("nested paging from nCR3 0x22fc06000"), std::string::npos);
}

TEST(KvmDump, OneBrokenRuleOneBit) {
    const Input input = read_input(
        dump_with("cr0:            0000000060000010", "cr0:            0000000020000010"), "dump",
        Format::AUTO);
    const Explanation e = explained(input, "amd-zen3-milan");
    ASSERT_EQ(e.must.size(), 1u);
    EXPECT_EQ(e.must[0].name, "svm.vmrun.cr0.cd-nw");
    EXPECT_EQ(e.repair_bits, 1u);
    ASSERT_EQ(e.repair.size(), 1u);
    EXPECT_EQ(e.repair[0].name, "save.cr0");
}

TEST(KvmDump, OldKernelsPrintOneInterceptsNumber) {
    const Input input =
        read_input(dump_with("fd44bfeb 0000ae7f", "0000ae7ffd44bfeb"), "dump", Format::AUTO);
    EXPECT_EQ(input.vmcb->control.intercept_misc1, 0xfd44bfebu);
    EXPECT_EQ(input.vmcb->control.intercept_misc2, 0xae7fu);
}

TEST(KvmDump, MissingFieldsAreNoted) {
    const Input input = read_input(dump_with("kvm_amd: tsc_offset:         ffff6b01ea8aa6f6", ""),
                                   "dump", Format::AUTO);
    ASSERT_EQ(input.notes.size(), 1u);
    EXPECT_EQ(input.notes[0], "tsc_offset is not in the dump: taken as 0");
}

TEST(KvmDump, BadNumbersNameTheLine) {
    EXPECT_EQ(error_of(dump_with("asid:               3", "asid:               x")),
              "f:14: asid: 'x' is not a decimal number");
    EXPECT_EQ(error_of(dump_with("s: 9900 a:", "s: 9900 q:")),
              "f:37: cs: expected \"a:\", found 'q:'");
    EXPECT_EQ(error_of("VMCB Control Area:\nnothing\n"),
              "f: no line \"VMCB Control Area:\" with fields after it (set "
              "kvm_amd.dump_invalid_vmcb=1 to make KVM print it)");
}

TEST(Json, ReadsAndFindsEveryBrokenRule) {
    const Input input = read_input(data("broken.json"), "broken.json", Format::AUTO);
    EXPECT_EQ(input.profile, "qemu-7.2-max");
    const Explanation e = explained(input, input.profile);
    std::vector<std::string> names;
    for (const BrokenRule& b : e.must) {
        names.emplace_back(b.name);
    }
    const std::vector<std::string> expected = {"svm.vmrun.ctl.asid-zero", "svm.vmrun.cr0.cd-nw",
                                               "svm.vmrun.long-mode.cs-l-d"};
    EXPECT_EQ(names, expected);
    EXPECT_EQ(e.repair_bits, 3u) << to_text(e);
}

TEST(Json, RepairedStateIsValid) {
    Input input = read_input(data("broken.json"), "broken.json", Format::AUTO);
    const Explanation e = explained(input, "qemu-7.2-max");
    nlohmann::json fixed = nlohmann::json::parse(data("broken.json"));
    for (const FieldChange& c : e.repair) {
        std::string pointer = "/" + c.name;
        std::replace(pointer.begin(), pointer.end(), '.', '/');
        fixed[nlohmann::json::json_pointer(pointer)] = c.to;
    }
    const Input again = read_input(fixed.dump(), "fixed", Format::JSON);
    EXPECT_TRUE(explained(again, "qemu-7.2-max").valid());
}

TEST(Json, ReportHasIdSectionFieldsAndValues) {
    const Explanation e =
        explained(read_input(data("broken.json"), "b", Format::AUTO), "qemu-7.2-max");
    const nlohmann::json report = to_json(e);
    EXPECT_FALSE(report["valid"].get<bool>());
    const auto& rule = report["broken"][1];
    EXPECT_EQ(rule["id"], "svm.vmrun.cr0.cd-nw");
    EXPECT_EQ(rule["section"], "APM vol. 2 rev. 3.42 §15.5.1");
    EXPECT_EQ(rule["fields"]["save.cr0"], "0x00000000a0010031");
    EXPECT_EQ(report["repair"]["changes"].size(), 3u);
}

TEST(Json, ErrorsNameTheKey) {
    EXPECT_EQ(error_of(R"({"save": {"cr9": 1}})"),
              "f: save.cr9: no VMCB field has this name (the names are those of "
              "docs/reference/svm-fields.md)");
    EXPECT_EQ(error_of(R"({"save": {"cr0": "x"}})"),
              "f: save.cr0: 'x' is not a number (0x..., or decimal, at most 64 bits)");
    EXPECT_EQ(error_of(R"({"save": {"cpl": 256}})"),
              "f: save.cpl: 0x100 does not fit the field's 1 bytes");
    EXPECT_EQ(error_of(R"({"save": {"cr0": -1}})"),
              "f: save.cr0: needs a number from 0, or a string with one such as \"0x80050033\"");
    EXPECT_EQ(error_of(R"({"guest": {}})"),
              "f: guest: unknown or of the wrong type; there are profile (a string), control, save "
              "and host (objects)");
    EXPECT_EQ(error_of(R"({"host": {"cpl": 4}})"), "f: host.cpl: a privilege level is 0 to 3");
    EXPECT_NE(error_of("{\"save\": ").find("f: not JSON"), std::string::npos);
    EXPECT_NE(error_of("{\"save\": 1e999}").find("f: not JSON"), std::string::npos);
}

TEST(Raw, SizeIsChecked) {
    EXPECT_EQ(error_of(std::string(4095, '\1'), Format::RAW),
              "f: a raw VMCB has 4096 bytes, this file has 4095");
    EXPECT_EQ(error_of(""), "f: the file is empty");
    EXPECT_NE(error_of("hello").find("neither a raw VMCB (4096 bytes; this is 5)"),
              std::string::npos);
}

TEST(Raw, AllZeroBreaksTheRulesOfAnEmptyBlock) {
    const Input input = read_input(std::string(4096, '\0'), "zero", Format::AUTO);
    const Explanation e = explained(input, "qemu-7.2-max");
    std::vector<std::string> names;
    for (const BrokenRule& b : e.must) {
        names.emplace_back(b.name);
    }
    const std::vector<std::string> expected = {"svm.vmrun.ctl.vmrun-intercept",
                                               "svm.vmrun.ctl.asid-zero", "svm.vmrun.efer.svme"};
    EXPECT_EQ(names, expected);
    EXPECT_EQ(e.repair_bits, 3u);
}

TEST(Explain, RulesThatTheManualLeavesOpenAreSaidToBe) {
    Input input = read_input(data("kvm-real-mode.log"), "dump", Format::AUTO);
    input.vmcb->control.guest_asid = 0x9000;
    const Explanation e = explained(input, "amd-zen3-milan");
    EXPECT_TRUE(e.must.empty());
    ASSERT_EQ(e.may.size(), 1u);
    EXPECT_EQ(e.may[0].name, "svm.vmrun.ctl.asid-range");
    EXPECT_NE(to_text(e).find("left open by the manual"), std::string::npos);
}

TEST(Explain, HostRulesAreMendedInTheHost) {
    Input input = read_input(data("kvm-real-mode.log"), "dump", Format::AUTO);
    input.host.efer &= ~x86::efer::SVME;
    const Explanation e = explained(input, "amd-zen3-milan");
    ASSERT_EQ(e.repair.size(), 1u);
    EXPECT_EQ(e.repair[0].name, "host.efer");
}

} // namespace
} // namespace horos::explain
