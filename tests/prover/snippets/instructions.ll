; One function for each instruction with the flags that C++ does not reach: what it gives where it
; is defined. (i64, i64, i64) -> i64, named snippet_*.
target triple = "x86_64-unknown-linux-gnu"
target datalayout = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128"

define i64 @snippet_ir_select(i64 %a, i64 %b, i64 %c) {
  %t = trunc i64 %a to i1
  %r = select i1 %t, i64 %b, i64 %c
  ret i64 %r
}
define i64 @snippet_ir_i1(i64 %a, i64 %b, i64 %c) {
  %x = icmp ugt i64 %a, %b
  %y = icmp slt i64 %b, %c
  %and = and i1 %x, %y
  %or = or i1 %x, %y
  %xor = xor i1 %x, %y
  %z1 = zext i1 %and to i64
  %s1 = sext i1 %or to i64
  %z2 = zext i1 %xor to i64
  %t = add i64 %z1, %s1
  %r = sub i64 %t, %z2
  ret i64 %r
}
define i64 @snippet_ir_freeze(i64 %a, i64 %b, i64 %c) {
  %x = add i64 %a, %b
  %f = freeze i64 %x
  %r = xor i64 %f, %c
  ret i64 %r
}
define i64 @snippet_ir_aggregate(i64 %a, i64 %b, i64 %c) {
  %v = insertvalue { i64, i32 } poison, i64 %a, 0
  %n = trunc i64 %b to i32
  %w = insertvalue { i64, i32 } %v, i32 %n, 1
  %x = extractvalue { i64, i32 } %w, 0
  %y = extractvalue { i64, i32 } %w, 1
  %z = zext i32 %y to i64
  %r = add i64 %x, %z
  ret i64 %r
}
declare i64 @llvm.umin.i64(i64, i64)
declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.usub.sat.i64(i64, i64)
declare i64 @llvm.uadd.sat.i64(i64, i64)
declare i64 @llvm.fshl.i64(i64, i64, i64)
declare i64 @llvm.fshr.i64(i64, i64, i64)
declare i16 @llvm.cttz.i16(i16, i1)
declare i32 @llvm.ctlz.i32(i32, i1)
declare i32 @llvm.abs.i32(i32, i1)
define i64 @snippet_ir_minmax(i64 %a, i64 %b, i64 %c) {
  %1 = call i64 @llvm.umin.i64(i64 %a, i64 %b)
  %2 = call i64 @llvm.umax.i64(i64 %1, i64 %c)
  %3 = call i64 @llvm.smin.i64(i64 %2, i64 %b)
  %4 = call i64 @llvm.smax.i64(i64 %3, i64 %a)
  ret i64 %4
}
define i64 @snippet_ir_saturating(i64 %a, i64 %b, i64 %c) {
  %1 = call i64 @llvm.usub.sat.i64(i64 %a, i64 %b)
  %2 = call i64 @llvm.uadd.sat.i64(i64 %1, i64 %c)
  ret i64 %2
}
define i64 @snippet_ir_funnel(i64 %a, i64 %b, i64 %c) {
  %1 = call i64 @llvm.fshl.i64(i64 %a, i64 %b, i64 %c)
  %2 = call i64 @llvm.fshr.i64(i64 %a, i64 %1, i64 %c)
  ret i64 %2
}
define i64 @snippet_ir_count(i64 %a, i64 %b, i64 %c) {
  %1 = trunc i64 %a to i16
  %2 = call i16 @llvm.cttz.i16(i16 %1, i1 false)
  %3 = trunc i64 %b to i32
  %4 = call i32 @llvm.ctlz.i32(i32 %3, i1 false)
  %5 = trunc i64 %c to i32
  %6 = call i32 @llvm.abs.i32(i32 %5, i1 false)
  %7 = zext i16 %2 to i64
  %8 = zext i32 %4 to i64
  %9 = zext i32 %6 to i64
  %10 = add i64 %7, %8
  %11 = add i64 %10, %9
  ret i64 %11
}
define i64 @snippet_ir_byte_offset(i64 %a, i64 %b, i64 %c) {
  %p = alloca [4 x i64]
  store i64 %a, ptr %p
  %p1 = getelementptr inbounds i8, ptr %p, i64 8
  store i64 %b, ptr %p1
  %p2 = getelementptr inbounds i8, ptr %p, i64 16
  store i64 %c, ptr %p2
  %p3 = getelementptr inbounds i8, ptr %p, i64 24
  store i64 7, ptr %p3
  %i = and i64 %c, 3
  %o = shl nuw nsw i64 %i, 3
  %q = getelementptr inbounds i8, ptr %p, i64 %o
  %r = load i64, ptr %q
  %q2 = getelementptr inbounds i8, ptr %p, i64 12
  %half = load i32, ptr %q2
  %h = zext i32 %half to i64
  %s = add i64 %r, %h
  ret i64 %s
}
define i64 @snippet_ir_switch(i64 %a, i64 %b, i64 %c) {
  %k = and i64 %a, 7
  switch i64 %k, label %other [ i64 0, label %one
                                i64 3, label %two
                                i64 5, label %one ]
one:
  %x = phi i64 [ %b, %0 ], [ %b, %0 ]
  br label %other
two:
  br label %other
other:
  %r = phi i64 [ %a, %0 ], [ %x, %one ], [ %c, %two ]
  ret i64 %r
}
