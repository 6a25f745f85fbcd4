// What abigen says to specifications with a mistake in them.
#include <gmock/gmock.h>

#include "tools/abigen/constants.hpp"
#include "tools/abigen/spec.hpp"

namespace horos::tools::abigen {
namespace {

using testing::HasSubstr;

constexpr const char* good = R"(
[[error]]
number = 0
name = "ok"
text = "Done."
[[error]]
number = 1
name = "bad_thing"
text = "Bad."
[[type]]
name = "small"
cpp = "u8"
bits = 3
error = "bad_thing"
also = ["ok"]
[[call]]
number = 5
name = "delete"
summary = "Deletes."
args = [{ name = "what", type = "small", text = "a | b" }, { name = "x", type = "u64" }]
returns = [{ name = "count", type = "u64" }]
errors = ["bad_thing"]
)";

std::string replaced(const std::string& from, const std::string& to) {
    std::string text = good;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

std::string errors_of(const std::string& text) {
    Diagnostics diagnostics;
    const auto spec = parse_spec(text, "calls.toml", diagnostics);
    EXPECT_EQ(spec.has_value(), diagnostics.ok());
    return diagnostics.text();
}

Spec good_spec() {
    Diagnostics diagnostics;
    auto spec = parse_spec(good, "calls.toml", diagnostics);
    EXPECT_TRUE(spec) << diagnostics.text();
    return *spec;
}

TEST(Abigen, ReadsAGoodSpecification) {
    const Spec spec = good_spec();
    ASSERT_EQ(spec.calls.size(), 1u);
    EXPECT_EQ(spec.calls[0].number, 5u);
    EXPECT_EQ(spec.type("small").max, 7u);
    EXPECT_THAT(spec.calls[0].errors, testing::ElementsAre("bad_thing", "ok"));
}

struct BadSpec {
    const char* from;
    const char* to;
    const char* message;
};

class BadSpecTest : public testing::TestWithParam<BadSpec> {};

TEST_P(BadSpecTest, IsRefusedWithItsLine) {
    const std::string errors = errors_of(replaced(GetParam().from, GetParam().to));
    EXPECT_THAT(errors, HasSubstr(GetParam().message));
    EXPECT_THAT(errors, HasSubstr("calls.toml"));
}

INSTANTIATE_TEST_SUITE_P(
    Abigen, BadSpecTest,
    testing::Values(
        BadSpec{"number = 0", "number = 3", "must have the name 'ok' and number 0"},
        BadSpec{"number = 1", "number = 0", "0 is that of 'ok' already, in line 2"},
        BadSpec{"number = 1", "number = -1", "-1 is out of range; allowed: 0 to 4294967295"},
        BadSpec{"number = 1", "number = \"1\"", "must be an integer, not a string"},
        BadSpec{"name = \"bad_thing\"", "name = \"Bad\"", "must be lower case letters"},
        BadSpec{"text = \"Bad.\"", "txet = \"Bad.\"",
                "txet: is not a known key here; allowed: number, name, text"},
        BadSpec{"bits = 3", "bits = 65", "65 is out of range; allowed: 1 to 64"},
        BadSpec{"bits = 3", "bits = 3\nmax = 7", "give either 'bits' or 'max', not both"},
        BadSpec{"bits = 3", "max = \"max_elephants\"", "one of: max_selector"},
        BadSpec{"bits = 3", "align = 3", "3 is not a power of two"},
        BadSpec{"bits = 3", "min = 9\nmax = 8", "greater than the greatest value 8"},
        BadSpec{"error = \"bad_thing\"", "", "must name the error of a bad value"},
        BadSpec{"error = \"bad_thing\"", "error = \"gone\"", "error 'gone' is not declared"},
        BadSpec{"type = \"small\"", "type = \"smal\"", "type 'smal' of 'what' is not declared"},
        BadSpec{"name = \"x\"", "name = \"what\"", "'what' is there twice"},
        BadSpec{"errors = [\"bad_thing\"]", "errors = [\"x\"]", "'x' is not declared by any"},
        BadSpec{"summary = \"Deletes.\"", "", "summary: is missing"},
        BadSpec{"[[call]]", "[[cell]]", "there is not one hypercall"},
        BadSpec{"[[call]]", "[[call", "calls.toml:16:"}));

TEST(Abigen, RefusesMoreArgumentsThanRegisters) {
    std::string seven = "args = [";
    for (char name = 'a'; name <= 'g'; ++name) {
        seven += std::string("{ name = \"") + name + "\", type = \"u64\" },";
    }
    const std::string text = replaced("args = [", seven);
    EXPECT_THAT(errors_of(text), HasSubstr("there are registers for 6"));
}

TEST(Abigen, GeneratedNamesAvoidKeywords) {
    EXPECT_THAT(emit_calls(good_spec()), HasSubstr("    delete_ = 5, // Deletes."));
}

TEST(Abigen, DecoderRejectsBeforeItWrites) {
    const std::string decode = emit_decode(good_spec());
    EXPECT_THAT(decode, HasSubstr("if (raw.rdi > 0x7u) {\n        return Error::bad_thing;"));
    EXPECT_LT(decode.find("return Error::bad_thing"), decode.find("out.what ="));
}

TEST(Abigen, ManualEscapesTableCells) {
    EXPECT_THAT(emit_docs(good_spec()), HasSubstr("| rdi | `small` | 0 … 7 | a \\| b |"));
}

TEST(Abigen, ConstantsAreThoseOfTheHeaders) {
    EXPECT_EQ(constant_value("max_selector - 1"), 1023u);
    EXPECT_EQ(constant_value("0x10"), 16u);
    EXPECT_EQ(constant_value("18446744073709551615"), ~std::uint64_t{0});
    EXPECT_FALSE(constant_value("18446744073709551616"));
    EXPECT_FALSE(constant_value("0 - 1"));
    EXPECT_FALSE(constant_value("12x"));
    EXPECT_FALSE(constant_value(""));
}

} // namespace
} // namespace horos::tools::abigen
