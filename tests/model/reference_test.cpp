// docs/reference/ holds what the tables say now. `model_reference_test --write` writes it anew.
#include "horos/model/svm/fields.hpp"
#include "horos/model/svm/predict.hpp"
#include "horos/model/svm/reference.hpp"
#include "horos/model/svm/rules.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

namespace horos::model::svm {
namespace {

const std::string FOLDER = HOROS_DOCS_REFERENCE;

std::string content(const std::string& file) {
    std::ifstream in(file);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}
const char* const HINT = "out of date: run model_reference_test --write";

TEST(Reference, RulesPageIsUpToDate) {
    EXPECT_TRUE(content(FOLDER + "/svm-rules.md") == rules_markdown()) << HINT;
}
TEST(Reference, FieldsPageIsUpToDate) {
    EXPECT_TRUE(content(FOLDER + "/svm-fields.md") == fields_markdown()) << HINT;
}

TEST(RuleTable, NamesAndNumbersAreUnique) {
    std::set<std::string_view> names;
    std::set<RuleId> ids;
    for (const RuleInfo& rule : all_rules()) {
        EXPECT_TRUE(names.insert(rule.name).second) << rule.name;
        EXPECT_TRUE(ids.insert(rule.id).second) << rule.name;
        EXPECT_EQ(find_rule(rule.name), &rule);
        EXPECT_EQ(&rule_info(rule.id), &rule);
        EXPECT_FALSE(rule.section.empty());
        EXPECT_FALSE(rule.fields.empty());
    }
    EXPECT_EQ(find_rule("svm.vmrun.no-such-rule"), nullptr);
    EXPECT_THROW(rule_info(RuleId::NONE), std::out_of_range);
}

TEST(FieldTable, EveryByteBelongsToOneField) {
    for (uint16_t offset = 0; offset < horos::svm::VMCB_BYTES; ++offset) {
        const FieldInfo& field = field_at(offset);
        EXPECT_LE(field.offset, offset);
        EXPECT_LT(offset, field.offset + field.bytes);
    }
}
TEST(FieldTable, ReadsWhatWasWritten) {
    auto vmcb = std::make_unique<Vmcb>();
    for (const FieldInfo& field : vmcb_fields()) {
        if (field.bytes <= 8) {
            const uint64_t value = 0x1122334455667788ull & (~0ull >> (64 - 8 * field.bytes));
            write_field(*vmcb, field, value);
            EXPECT_EQ(read_field(*vmcb, field), value) << field.name;
        }
    }
    EXPECT_EQ(find_field("save.cr0")->offset, 0x558);
    EXPECT_EQ(find_field("save.nothing"), nullptr);
}
TEST(FieldTable, RuleFieldsAgreeWithIt) {
    for (const RuleFieldInfo& field : rule_fields()) {
        if (field.place == FieldPlace::VMCB) {
            const FieldInfo* info = find_field(field.name);
            ASSERT_NE(info, nullptr) << field.name;
            EXPECT_EQ(info->offset, field.vmcb_offset) << field.name;
            EXPECT_EQ(info->bytes, field.bytes) << field.name;
        }
    }
}

TEST(Profiles, DeriveWhatTheLeavesSay) {
    const Profile& max = builtin_profile("qemu-7.2-max");
    EXPECT_EQ(max.physical_bits, 40u);
    EXPECT_EQ(max.asid_count, 16u);
    EXPECT_TRUE(max.svm_feature(x86::cpuid::SVM_EDX_VGIF));
    EXPECT_FALSE(max.svm_feature(x86::cpuid::SVM_EDX_NRIPS));
    EXPECT_NE(max.cr4_defined & x86::cr4::LA57, 0u);
    const Profile& milan = builtin_profile("amd-zen3-milan");
    EXPECT_EQ(milan.physical_bits, 48u);
    EXPECT_TRUE(milan.cet);
    EXPECT_EQ(milan.cr4_defined & x86::cr4::LA57, 0u);
    EXPECT_EQ(milan.efer_defined & x86::efer::LMSLE, 0u);
    EXPECT_TRUE(builtin_profile("bochs-2.7-ryzen").svm_feature(x86::cpuid::SVM_EDX_NRIPS));
}
TEST(Profiles, BadFilesAreNamed) {
    const auto message = [](const char* text) -> std::string {
        try {
            parse_profile(text, "p");
        } catch (const ProfileError& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(message("[]"), "p: a profile is a JSON object");
    EXPECT_EQ(message("{}"), "p: key 'name' is missing or not a string");
    EXPECT_EQ(message(R"({"name":"a","description":"b"})"),
              "p: key 'cpuid' is missing or not an object");
    EXPECT_EQ(message(R"({"name":"a","description":"b","cpuid":{"1":["0","0","0"]}})"),
              "p: cpuid.1: needs four strings: eax, ebx, ecx, edx");
    EXPECT_EQ(message(R"({"name":"a","description":"b","cpuid":{"1":["0","0","0","g"]}})"),
              "p: cpuid.1: 'g' is not a 32-bit hexadecimal number");
    EXPECT_NE(message(R"({"name":"a","description":"b","cpuid":{}})").find("has no SVM"),
              std::string::npos);
    EXPECT_NE(message("{").find("p: not JSON"), std::string::npos);
    EXPECT_THROW(builtin_profile("none"), ProfileError);
    EXPECT_THROW(load_profile("/there/is/none"), ProfileError);
}

TEST(Names, OfExitCodes) {
    EXPECT_EQ(exit_code_name(ExitCode::NPF), "VMEXIT_NPF");
    EXPECT_EQ(exit_code_name(static_cast<ExitCode>(0x18)), "VMEXIT_CR8_WRITE");
    EXPECT_EQ(exit_code_name(static_cast<ExitCode>(0x4e)), "VMEXIT_EXCP14");
    EXPECT_EQ(exit_code_name(ExitCode::XSETBV), "VMEXIT_XSETBV");
    EXPECT_EQ(exit_code_name(ExitCode::EFER_WRITE_TRAP), "VMEXIT_EFER_WRITE_TRAP");
    EXPECT_EQ(exit_code_name(ExitCode::INVALID), "VMEXIT_INVALID");
    EXPECT_EQ(exit_code_name(static_cast<ExitCode>(0x333)), "VMEXIT_0x333");
}

} // namespace
} // namespace horos::model::svm

int main(int argc, char** argv) {
    using namespace horos::model::svm;
    if (argc == 2 && std::string_view(argv[1]) == "--write") {
        std::ofstream(FOLDER + "/svm-rules.md") << rules_markdown();
        std::ofstream(FOLDER + "/svm-fields.md") << fields_markdown();
        return 0;
    }
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
