#include "devices/uart.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>

namespace horos::vmm {
namespace {

using Register = Uart::Register;

struct UartTest : testing::Test {
    Uart uart;
    void SetUp() override {
        uart.write(Register::modem_control, 0x08); // OUT2
        uart.write(Register::interrupt_id, 0x01);  // FIFO on, trigger 1
    }
};

TEST_F(UartTest, TransmitterIsEmptyOnlyWhenTheOwnerTookTheBytes) {
    EXPECT_EQ(uart.read(Register::line_status) & 0x60, 0x60);
    uart.write(Register::data, 'x');
    EXPECT_EQ(uart.read(Register::line_status) & 0x60, 0);
    ASSERT_TRUE(uart.has_output());
    EXPECT_EQ(uart.take_output(), 'x');
    EXPECT_EQ(uart.read(Register::line_status) & 0x60, 0x60);
}

TEST_F(UartTest, TransmitInterruptComesWhenEnabledAndIsClearedByReadingItsId) {
    EXPECT_FALSE(uart.irq());
    uart.write(Register::interrupt_enable, 0x02);
    EXPECT_TRUE(uart.irq());
    EXPECT_EQ(uart.read(Register::interrupt_id) & 0x0f, 0x02);
    EXPECT_FALSE(uart.irq());
    EXPECT_EQ(uart.read(Register::interrupt_id) & 0x0f, 0x01);
    uart.write(Register::data, 'x');
    EXPECT_FALSE(uart.irq());
    uart.take_output();
    EXPECT_TRUE(uart.irq());
}

TEST_F(UartTest, Out2GatesTheInterrupt) {
    uart.write(Register::interrupt_enable, 0x02);
    uart.write(Register::modem_control, 0x00);
    EXPECT_FALSE(uart.irq());
    uart.write(Register::modem_control, 0x08);
    EXPECT_TRUE(uart.irq());
}

TEST_F(UartTest, ReceiveTriggerTellsDataFromTimeout) {
    uart.write(Register::interrupt_id, 0x41); // trigger 4
    uart.write(Register::interrupt_enable, 0x01);
    EXPECT_TRUE(uart.receive('a'));
    EXPECT_EQ(uart.read(Register::interrupt_id) & 0x0f, 0x0c);
    for (char c : std::string("bcd"))
        uart.receive(static_cast<u8>(c));
    EXPECT_EQ(uart.read(Register::interrupt_id) & 0x0f, 0x04);
    for (char c : std::string("abcd"))
        EXPECT_EQ(uart.read(Register::data), static_cast<u8>(c));
    EXPECT_FALSE(uart.irq());
}

TEST_F(UartTest, FifoTakesSixteenAndTheWideOneSixtyFour) {
    for (int i = 0; i < 16; ++i)
        EXPECT_TRUE(uart.receive('a'));
    EXPECT_FALSE(uart.receive('a'));
    uart.write(Register::interrupt_id, 0x21); // without DLAB the wide bit is ignored
    EXPECT_FALSE(uart.receive('a'));
    uart.write(Register::line_control, 0x80);
    uart.write(Register::interrupt_id, 0x21);
    uart.write(Register::line_control, 0x03);
    EXPECT_EQ(uart.read(Register::interrupt_id) & 0xe0, 0xe0); // how Linux knows a 16750
    EXPECT_TRUE(uart.receive('a'));
}

TEST_F(UartTest, LoopbackReturnsDataAndModemLines) {
    uart.write(Register::modem_control, 0x1a);                 // loop, OUT2, RTS
    EXPECT_EQ(uart.read(Register::modem_status) & 0xf0, 0x90); // DCD, CTS
    uart.write(Register::data, 0x5a);
    EXPECT_FALSE(uart.has_output());
    EXPECT_EQ(uart.read(Register::data), 0x5a);
    EXPECT_FALSE(uart.receive('x')) << "the outside is cut off";
}

TEST_F(UartTest, DivisorLatchHidesDataAndInterruptEnable) {
    uart.write(Register::line_control, 0x83);
    uart.write(Register::data, 0x34);
    uart.write(Register::interrupt_enable, 0x12);
    EXPECT_EQ(uart.read(Register::data), 0x34);
    EXPECT_EQ(uart.read(Register::interrupt_enable), 0x12);
    uart.write(Register::line_control, 0x03);
    EXPECT_FALSE(uart.has_output());
    EXPECT_EQ(uart.read(Register::interrupt_enable), 0x00);
}

RC_GTEST_PROP(UartProperty, BytesComeOutInOrderWhateverTheBatches, (std::string text)) {
    Uart uart;
    std::string out;
    for (const char c : text) {
        uart.write(Register::data, static_cast<u8>(c));
        if (*rc::gen::inRange(0, 4) == 0 || (uart.read(Register::line_status) & 0x20) == 0)
            while (uart.has_output())
                out += static_cast<char>(uart.take_output());
    }
    RC_ASSERT(out == text);
}

RC_GTEST_PROP(UartProperty, NoSequenceOfAccessesBreaksIt, ()) {
    Uart uart;
    const auto steps = *rc::gen::container<std::vector<std::tuple<u8, u8, u8>>>(rc::gen::tuple(
        rc::gen::inRange<u8>(0, 3), rc::gen::inRange<u8>(0, 8), rc::gen::arbitrary<u8>()));
    for (const auto& [what, reg, value] : steps) {
        if (what == 0)
            uart.write(static_cast<Register>(reg), value);
        else if (what == 1)
            uart.read(static_cast<Register>(reg));
        else
            uart.receive(value);
        if (uart.has_output() && value % 2)
            uart.take_output();
        // An interrupt that is signalled can be identified.
        if (uart.irq())
            RC_ASSERT((uart.read(Register::interrupt_id) & 1) == 0);
    }
}

} // namespace
} // namespace horos::vmm
