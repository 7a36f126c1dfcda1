"""Each instruction against TI's manual (SPRUFE8, chapter 4): registers before and after.

The expectations are written out by hand from the manual's definitions, none is computed by code;
the instructions pass through the real assembler. All registers not named hold 0xDEADBEEF, and
must hold it afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from .machine import STOP, Machine, Program, operations
from .toolchain import assemble

JUNK = 0xDEAD_BEEF

# instruction | registers before, hexadecimal | registers after | delay slots
CASES = """
# --- whole words
abs .L1 a1,a5              | a1=80004E3D                        | a5=7FFFB1C3              | 0
abs .L1 a1,a5              | a1=80000000                        | a5=7FFFFFFF              | 0
add .L2x b1,a1,b2          | a1=325A b1=FFFFFF12                | b2=316C                  | 0
add .L1 -16,a1,a2          | a1=1                               | a2=FFFFFFF1              | 0
add .S1 a1,a2,a3           | a1=FFFFFFFF a2=2                   | a3=1                     | 0
add .D1 a1,31,a3           | a1=1                               | a3=20                    | 0
# 40 bits: -1 + (2^32 - 1) = 2^32 - 2, so the upper byte is 0
add .L1 a1,a3:a2,a5:a4     | a1=FFFFFFFF a2=FFFFFFFF a3=0       | a4=FFFFFFFE a5=0         | 0
add .L1 a1,a2,a5:a4        | a1=FFFFFFFF a2=FFFFFFFF            | a4=FFFFFFFE a5=FF        | 0
addu .L1 a1,a2,a5:a4       | a1=325A a2=FFFFFF12                | a4=316C a5=1             | 0
# only 8 bits of a pair's upper register are read
addu .L1 a1,a3:a2,a5:a4    | a1=1 a2=FFFFFFFF a3=ABCDEF7F       | a4=0 a5=80               | 0
addk .S1 15401,a1          | a1=21F8FA                          | a1=223523                | 0
addk .S1 -2,a1             | a1=1                               | a1=FFFFFFFF              | 0
sub .L1 a1,a2,a3           | a1=325A a2=FFFFFF12                | a3=3348                  | 0
sub .L1 1,a2,a3            | a2=3                               | a3=FFFFFFFE              | 0
sub .D2 b1,3,b2            | b1=2                               | b2=FFFFFFFF              | 0
sub .L1 a1,a2,a5:a4        | a1=80000000 a2=1                   | a4=7FFFFFFF a5=FF        | 0
subu .L1 a1,a2,a5:a4       | a1=0 a2=1                          | a4=FFFFFFFF a5=FF        | 0
neg .L1 a1,a2              | a1=5                               | a2=FFFFFFFB              | 0
neg .S2 b1,b2              | b1=80000000                        | b2=80000000              | 0
mv .D1 a1,a2               | a1=12345678                        | a2=12345678              | 0
mv .L2x a1,b2              | a1=87654321                        | b2=87654321              | 0
mvk .S1 -32768,a1          |                                    | a1=FFFF8000              | 0
mvk .S2 32767,b1           |                                    | b1=7FFF                  | 0
mvk .L1 -16,a1             |                                    | a1=FFFFFFF0              | 0
mvk .D2 15,b1              |                                    | b1=F                     | 0
mvkl .S1 0x12348765,a1     |                                    | a1=FFFF8765              | 0
mvkh .S1 0x12348765,a1     | a1=FFFF8765                        | a1=12348765              | 0
mvklh .S1 0x7654,a1        | a1=8765                            | a1=76548765              | 0
zero .L1 a1                |                                    | a1=0                     | 0
zero .D2 b1                |                                    | b1=0                     | 0
and .L1x a1,b1,a2          | a1=F7A1302A b1=2B6E724             | a2=2A02020               | 0
and .S1 -16,a1,a2          | a1=12345678                        | a2=12345670              | 0
andn .L1 a1,a2,a3          | a1=1957215F a2=F0F0F0F             | a3=10502050              | 0
or .D1 a1,a2,a3            | a1=8A3A49F a2=FF375A               | a3=8FFB7DF               | 0
xor .S1 a1,a2,a3           | a1=721325A a2=19FF0F               | a3=738CD55               | 0
xor .L1 -1,a2,a3           | a2=F0F00FF                         | a3=F0F0FF00              | 0
not .L1 a1,a2              | a1=12345678                        | a2=EDCBA987              | 0
cmpeq .L1x a1,b1,a2        | a1=F8E b1=F8E                      | a2=1                     | 0
cmpeq .L1 -1,a1,a2         | a1=FFFF                            | a2=0                     | 0
cmpeq .L1 a1,a3:a2,a4      | a1=FFFFFFFF a2=FFFFFFFF a3=FF      | a4=1                     | 0
cmpgt .L1 a1,a2,a3         | a1=80000000 a2=1                   | a3=0                     | 0
cmpgt .L1 5,a2,a3          | a2=FFFFFFFB                        | a3=1                     | 0
cmpgt .L1 a1,a2,a3         | a1=7 a2=7                          | a3=0                     | 0
cmpgtu .L1 a1,a2,a3        | a1=80000000 a2=1                   | a3=1                     | 0
cmpgtu .L1 10,a2,a3        | a2=B                               | a3=0                     | 0
cmplt .L1 a1,a2,a3         | a1=80000000 a2=1                   | a3=1                     | 0
cmplt .L1 9,a2,a3          | a2=A                               | a3=1                     | 0
cmpltu .L1 a1,a2,a3        | a1=80000000 a2=1                   | a3=0                     | 0
cmpltu .L2 b1,b2,b3        | b1=1 b2=FFFFFFFF                   | b3=1                     | 0
lmbd .L1 a1,a2,a3          | a1=1 a2=9E3A81                     | a3=8                     | 0
lmbd .L1 0,a2,a3           | a2=FF2CB0A1                        | a3=8                     | 0
lmbd .L1 1,a2,a3           | a2=0                               | a3=20                    | 0
norm .L1 a1,a2             | a1=2A3469F                         | a2=5                     | 0
norm .L1 a1,a2             | a1=FFFFF25A                        | a2=13                    | 0
norm .L1 a1,a2             | a1=0                               | a2=1F                    | 0
sadd .L1 a1,a2,a3          | a1=5A2E51A3 a2=12A3FA2             | a3=5B589145              | 0
sadd .L1 a1,a2,a3          | a1=4367719A a2=5A2E51A3            | a3=7FFFFFFF              | 0
sadd .S1 a1,a2,a3          | a1=80000000 a2=FFFFFFFF            | a3=80000000              | 0
ssub .L1 a1,a2,a3          | a1=80000000 a2=1                   | a3=80000000              | 0
ssub .L1 a1,a2,a3          | a1=A a2=FFFFFFFF                   | a3=B                     | 0
sshl .S1 a0,2,a1           | a0=2E3031C                         | a1=B8C0C70               | 0
sshl .S1 a0,a1,a2          | a0=47191925 a1=6                   | a2=7FFFFFFF              | 0
sshl .S1 a0,a1,a2          | a0=FFFFFFFF a1=1F                  | a2=80000000              | 0
sshl .S2 b0,b1,b2          | b0=BFFFFFFF b1=1                   | b2=80000000              | 0
sat .L1 a3:a2,a5           | a2=80000000 a3=0                   | a5=7FFFFFFF              | 0
sat .L1 a3:a2,a5           | a2=A1907321 a3=FE                  | a5=80000000              | 0
sat .L1 a3:a2,a5           | a2=FFFFFFFE a3=FF                  | a5=FFFFFFFE              | 0
# one step of a division: 4986 - 36864 < 0, and 38901 - 36864 = 2037
subc .L1 a0,a1,a2          | a0=137A a1=9000                    | a2=26F4                  | 0
subc .L1 a0,a1,a2          | a0=97F5 a1=9000                    | a2=FEB                   | 0
shl .S1 a0,4,a1            | a0=29E3D31C                        | a1=9E3D31C0              | 0
shl .S2 b0,b1,b2           | b0=4197A51A b1=9                   | b2=2F4A3400              | 0
shl .S1 a0,a1,a2           | a0=FFFFFFFF a1=20                  | a2=0                     | 0
shl .S1 a0,8,a3:a2         | a0=FF000001                        | a2=100 a3=FF             | 0
shl .S1 a1:a0,1,a3:a2      | a0=80000001 a1=C0                  | a2=2 a3=81               | 0
shr .S1 a0,8,a1            | a0=F12363D1                        | a1=FFF12363              | 0
shr .S1 a0,a1,a2           | a0=80000000 a1=28                  | a2=FFFFFFFF              | 0
shr .S1 a1:a0,4,a3:a2      | a0=10 a1=F1                        | a2=10000001 a3=FF        | 0
shru .S1 a0,8,a1           | a0=F12363D1                        | a1=F12363                | 0
shru .S1 a0,a1,a2          | a0=FFFFFFFF a1=20                  | a2=0                     | 0
shru .S1 a1:a0,4,a3:a2     | a0=10 a1=F1                        | a2=10000001 a3=F         | 0
clr .S1 a1,4,19,a2         | a1=7A43F2A                         | a2=7A0000A               | 0
clr .S2 b1,b3,b2           | b1=3B6E7D5 b3=52                   | b2=3B00001               | 0
set .S1 a0,7,21,a1         | a0=4B13F01E                        | a1=4B3FFF9E              | 0
ext .S1 a1,10,19,a2        | a1=7A43F2A                         | a2=FFFFF21F              | 0
ext .S1 a1,a2,a3           | a1=3B6E7D5 a2=73                   | a3=3B6                   | 0
extu .S1 a1,10,19,a2       | a1=7A43F2A                         | a2=121F                  | 0
extu .S1 a1,a2,a3          | a1=80000000 a2=1F                  | a3=1                     | 0
addab .D1 a4,a2,a4         | a4=100 a2=B                        | a4=10B                   | 0
addah .D1 a4,a2,a4         | a4=100 a2=B                        | a4=116                   | 0
addaw .D1 a4,2,a4          | a4=20000                           | a4=20008                 | 0
addad .D1 a4,a2,a4         | a4=1234 a2=2                       | a4=1244                  | 0
addab .D1x b14,42,a4       | b14=20F000                         | a4=20F02A                | 0
subab .D1 a5,a0,a5         | a5=100 a0=4                        | a5=FC                    | 0
subah .D1 a5,a0,a5         | a5=100 a0=4                        | a5=F8                    | 0
subaw .D1 a5,2,a3          | a5=100                             | a3=F8                    | 0
# --- packed halfwords and bytes
add2 .S1 a1,a2,a3          | a1=21FFFF a2=39AE4B8               | a3=3BBE4B7               | 0
sub2 .S1 a1,a2,a3          | a1=11050000 a2=11060001            | a3=FFFFFFFF              | 0
add4 .L1 a1,a2,a3          | a1=FF684E3D a2=3FF6F105            | a3=3E5E3F42              | 0
sub4 .L1 a1,a2,a3          | a1=10203 a2=1010101                | a3=FF000102              | 0
max2 .L1 a2,a8,a9          | a2=3789F23A a8=4B84975             | a9=37894975              | 0
min2 .L1 a2,a8,a9          | a2=3789F23A a8=4B84975             | a9=4B8F23A               | 0
maxu4 .L1 a2,a8,a9         | a2=37894975 a8=4B8F23A             | a9=37B8F275              | 0
minu4 .L1 a2,a8,a9         | a2=37894975 a8=4B8F23A             | a9=489493A               | 0
cmpeq2 .S1 a3,a4,a5        | a3=11056E30 a4=11056980            | a5=2                     | 0
cmpgt2 .S1 a3,a4,a5        | a3=1105F238 a4=11036980            | a5=2                     | 0
cmpeq4 .S1 a3,a4,a5        | a3=23A4E1C a4=3B84E76              | a5=2                     | 0
cmpgtu4 .S1 a3,a4,a5       | a3=253A1CE4 a4=2B84E76             | a5=9                     | 0
shr2 .S1 a2,8,a3           | a2=A6E28123                        | a3=FFA6FF81              | 0
shru2 .S1 a2,8,a3          | a2=A6E28123                        | a3=A60081                | 0
pack2 .L1 a2,a8,a9         | a2=3789F23A a8=4B84975             | a9=F23A4975              | 0
packh2 .L1 a2,a8,a9        | a2=3789F23A a8=4B84975             | a9=378904B8              | 0
packhl2 .L1 a2,a8,a9       | a2=3789F23A a8=4B84975             | a9=37894975              | 0
packlh2 .S1 a2,a8,a9       | a2=3789F23A a8=4B84975             | a9=F23A04B8              | 0
swap2 .L1 a2,a3            | a2=3789F23A                        | a3=F23A3789              | 0
packl4 .L1 a2,a8,a9        | a2=3789F23A a8=4B84975             | a9=893AB875              | 0
packh4 .L1 a2,a8,a9        | a2=3789F23A a8=4B84975             | a9=37F20449              | 0
spack2 .S1 a2,a8,a9        | a2=3789F23A a8=FFFF8001            | a9=7FFF8001              | 0
spacku4 .S1 a2,a8,a9       | a2=3789F23A a8=B80100              | a9=FF00B8FF              | 0
unpkhu4 .L1 a1,a2          | a1=9E526E30                        | a2=9E0052                | 0
unpklu4 .S1 a1,a2          | a1=9E526E30                        | a2=6E0030                | 0
swap4 .L1 a1,a2            | a1=9E526E30                        | a2=529E306E              | 0
shlmb .L1 a2,a8,a9         | a2=3789F23A a8=4B84975             | a9=B8497537              | 0
shrmb .L1 a2,a8,a9         | a2=3789F23A a8=4B84975             | a9=3A04B849              | 0
dmv .S1 a0,a1,a3:a2        | a0=87654321 a1=12345678            | a2=12345678 a3=87654321  | 0
dpack2 .L1 a0,a1,a3:a2     | a0=87654321 a1=12345678            | a2=43215678 a3=87651234  | 0
# --- .M
# 291 x -239 = -69549
mpy .M1 a1,a2,a3           | a1=1230123 a2=AAAFF11              | a3=FFFEF053              | 1
mpy .M1 13,a1,a2           | a1=3497FFF3                        | a2=FFFFFF57              | 1
mpyu .M1 a1,a2,a3          | a1=1FFFF a2=1FFFF                  | a3=FFFE0001              | 1
mpysu .M1 a1,a2,a3         | a1=FFFF a2=FFFF                    | a3=FFFF0001              | 1
mpyus .M1 a1,a2,a3         | a1=FFFF a2=FFFE                    | a3=FFFE0002              | 1
# 35 x -89 = -3115
mpyh .M1 a1,a2,a3          | a1=230000 a2=FFA71234              | a3=FFFFF3D5              | 1
mpyhu .M1 a1,a2,a3         | a1=FFFF0000 a2=20000               | a3=1FFFE                 | 1
# 138 x 167 = 23046
mpyhl .M1 a1,a2,a3         | a1=8A003E a2=21FF00A7              | a3=5A06                  | 1
mpyhlu .M1 a1,a2,a3        | a1=FFFF0003 a2=3FFFF               | a3=FFFE0001              | 1
mpylh .M1 a1,a2,a3         | a1=900000E a2=2900A7               | a3=23E                   | 1
mpylhu .M1 a1,a2,a3        | a1=3FFFF a2=FFFF0003               | a3=FFFE0001              | 1
rotl .M2 b2,b4,b5          | b2=A6E2C179 b4=1458                | b5=79A6E2C1              | 1
rotl .M1 a1,0,a2           | a1=12345678                        | a2=12345678              | 1
avgu4 .M1 a1,a2,a3         | a1=1A2E5F4E a2=9EF26E3F            | a3=5C906747              | 1
xpnd2 .M1 a1,a2            | a1=FFFFFFFE                        | a2=FFFF0000              | 1
xpnd4 .M1 a1,a2            | a1=F5                              | a2=FF00FF                | 1
mvd .M2x a5,b8             | a5=6A321193                        | b8=6A321193              | 3
dotp2 .M1 a5,a6,a8         | a5=6A321193 a6=B1746CA4            | a8=E6DFF6D4              | 3
dotp2 .M1 a5,a6,a9:a8      | a5=80008000 a6=80008000            | a8=80000000 a9=0         | 3
# 27186 x -20108 - 4499 x 27812 = -671782276
dotpn2 .M1 a5,a6,a8        | a5=6A321193 a6=B1746CA4            | a8=D7F56A7C              | 3
# 106 x 177 + 50 x 116 + 17 x 108 + 147 x 164 = 50506, the manual's example
dotpu4 .M1 a5,a6,a8        | a5=6A321193 a6=B1746CA4            | a8=C54A                  | 3
# 106 x 177 + 50 x 116 + 17 x 108 - 109 x 164 = 8522, the manual's example
dotpsu4 .M1 a5,a6,a8       | a5=6A321193 a6=B1746CA4            | a8=214A                  | 3
# src1 is signed and may not cross, src2 is unsigned and may: -128 x 255 x 4 = -130560
dotpsu4 .M2x b5,a6,b8      | b5=80808080 a6=FFFFFFFF            | b8=FFFE0200              | 3
dotpsu4 .M1 a5,a6,a8       | a5=FF a6=1                         | a8=FFFFFFFF              | 3
mpy2 .M1 a5,a6,a9:a8       | a5=6A321193 a6=B1746CA4            | a8=775462C a9=DF6AB0A8   | 3
mpyu4 .M1 a5,a6,a9:a8      | a5=6A321193 a6=B1746CA4            | a8=72C5E2C a9=494A16A8   | 3
mpysu4 .M1 a5,a6,a9:a8     | a5=6A321193 a6=B1746CA4            | a8=72CBA2C a9=494A16A8   | 3
# 1 x -2^31, and -1 x 2^16
mpyhi .M1 a5,a6,a9:a8      | a5=1FFFF a6=80000000               | a8=80000000 a9=FFFFFFFF  | 3
mpyli .M1 a5,a6,a9:a8      | a5=1FFFF a6=10000                  | a8=FFFF0000 a9=FFFFFFFF  | 3
# 3/2 is rounded up to 2, and -3/2 up to -1
mpyhir .M1 a5,a6,a8        | a5=40000000 a6=3                   | a8=2                     | 3
mpylir .M1 a5,a6,a8        | a5=4000 a6=FFFFFFFD                | a8=FFFFFFFF              | 3
mpy32 .M1 a5,a6,a8         | a5=10001 a6=FFFFFFFE               | a8=FFFDFFFE              | 3
mpy32 .M1 a5,a6,a9:a8      | a5=80000000 a6=7FFFFFFF            | a8=80000000 a9=C0000000  | 3
mpy32u .M1 a5,a6,a9:a8     | a5=FFFFFFFF a6=FFFFFFFF            | a8=1 a9=FFFFFFFE         | 3
mpy32su .M1 a5,a6,a9:a8    | a5=FFFFFFFF a6=FFFFFFFF            | a8=1 a9=FFFFFFFF         | 3
mpy32us .M1 a5,a6,a9:a8    | a5=FFFFFFFF a6=FFFFFFFE            | a8=2 a9=FFFFFFFE         | 3
"""

# The 16 bytes at 0x20000; a4, b4 and the like point there.
BYTES = bytes.fromhex("01 82 03 84 05 86 07 88 09 8a 0b 8c 0d 8e 0f 90")

LOADS = """
ldb .D1T1 *a4,a1           | a4=20001                           | a1=FFFFFF82              | 4
ldbu .D1T1 *a4,a1          | a4=20001                           | a1=82                    | 4
ldh .D1T1 *+a4[1],a1       | a4=20000                           | a1=FFFF8403              | 4
ldhu .D1T2 *-a4[1],b1      | a4=20004                           | b1=8403                  | 4
ldw .D1T1 *a4++,a1         | a4=20000                           | a1=84038201 a4=20004     | 4
ldw .D2T2 *++b4[2],b1      | b4=20000                           | b1=8C0B8A09 b4=20008     | 4
ldw .D2T1 *b4--[1],a1      | b4=20004                           | a1=88078605 b4=20000     | 4
ldw .D1T1 *--a4[1],a1      | a4=20008                           | a1=88078605 a4=20004     | 4
ldw .D1T1 *+a4[a5],a1      | a4=20000 a5=2                      | a1=8C0B8A09              | 4
ldb .D1T1 *-a4[a5],a1      | a4=20004 a5=2                      | a1=3                     | 4
ldw .D2T2 *+b15(12),b1     | b15=20000                          | b1=900F8E0D              | 4
ldw .D2T2 *+b14(260),b1    | b14=1FF00                          | b1=88078605              | 4
lddw .D1T1 *a4++,a1:a0     | a4=20000               | a0=84038201 a1=88078605 a4=20008     | 4
lddw .D2T2 *+b4[1],b1:b0   | b4=20000                           | b0=8C0B8A09 b1=900F8E0D  | 4
ldnw .D1T1 *a4,a1          | a4=20001                           | a1=5840382               | 4
ldndw .D1T1 *a4,a1:a0      | a4=20003                           | a0=7860584 a1=B8A0988    | 4
ldndw .D1T1 *a4++[1],a1:a0 | a4=20001                   | a0=5840382 a1=9880786 a4=20009   | 4
ldndw .D1T1 *+a4(3),a1:a0  | a4=20000                           | a0=7860584 a1=B8A0988    | 4
ldndw .D1T1 *+a4[a5],a1:a0 | a4=20000 a5=1                      | a0=8C0B8A09 a1=900F8E0D  | 4
"""

# instruction | registers before | registers after | the 16 bytes after
STORES = """
stb .D1T1 a1,*+a4[1] | a4=20000 a1=11223344 | | 0144038405860788098a0b8c0d8e0f90
sth .D1T1 a1,*a4++ | a4=20002 a1=11223344 | a4=20004 | 0182443305860788098a0b8c0d8e0f90
stw .D2T2 b1,*b4--[1] | b4=20004 b1=11223344 | b4=20000 | 0182038444332211098a0b8c0d8e0f90
stw .D1T2 b1,*++a4[1] | a4=20000 b1=11223344 | a4=20004 | 0182038444332211098a0b8c0d8e0f90
stdw .D1T1 a1:a0,*a4 | a4=20008 a0=11223344 a1=55667788 | | 01820384058607884433221188776655
stnw .D1T1 a1,*a4 | a4=20001 a1=11223344 | | 0144332211860788098a0b8c0d8e0f90
stndw .D1T1 a1:a0,*a4 | a4=20001 a0=11223344 a1=55667788 | | 0144332211887766558a0b8c0d8e0f90
"""

# tested by their own files: pipeline and loop buffer
ELSEWHERE = {"nop", "b", "bnop", "bdec", "bpos", "callp", "addkpc", "mvc"}
ELSEWHERE |= {"sploop", "sploopd", "spkernel", "spmask"}


class Case(NamedTuple):
    """One line of a table."""

    instruction: str
    before: dict[str, int]
    after: dict[str, int]
    last: str


def registers(words: str) -> dict[str, int]:
    return {name: int(value, 16) for name, value in (word.split("=") for word in words.split())}


def table(text: str) -> list[Case]:
    """The lines that are no comments."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("#")]
    columns = [[column.strip() for column in line.split("|")] for line in lines]
    return [Case(what, registers(old), registers(new), last) for what, old, new, last in columns]


RESULTS = [*table(CASES), *table(LOADS)]
ALL = [*RESULTS, *table(STORES)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Every case behind its own label, each with room for its delay slots."""
    lines = [f"case_{n}:\n\t{case.instruction}\n\tnop 9\n\tnop 9" for n, case in enumerate(ALL)]
    return Program(assemble("\n".join(lines), tmp_path_factory.mktemp("cases")))


def ran(program: Program, case: Case, delay: int) -> Machine:
    """After the delay slots the results stand; a cycle before, none that comes late did."""
    machine = Machine(program)
    machine.state.reg[:] = [JUNK] * 64
    machine["b3"] = STOP
    for name, value in case.before.items():
        machine[name] = value
    machine.memory(0x20000, 16)[:] = list(BYTES)
    start = program.symbols[f"case_{ALL.index(case)}"]
    if delay:
        machine.step(start, delay)
        assert all(machine[name] == JUNK for name in case.after if name not in case.before)
    machine.step(machine.state.pc if delay else start, 1)
    return machine


def check(machine: Machine, case: Case) -> None:
    names = [f"{side}{number}" for side in "ab" for number in range(32)]
    want = dict.fromkeys(names, JUNK) | {"b3": STOP} | case.before | case.after
    assert {n: hex(machine[n]) for n in names} == {n: hex(want[n]) for n in names}


@pytest.mark.parametrize("case", RESULTS, ids=lambda case: case.instruction)
def test_registers(program: Program, case: Case) -> None:
    check(ran(program, case, int(case.last)), case)


@pytest.mark.parametrize("case", table(STORES), ids=lambda case: case.instruction)
def test_stores(program: Program, case: Case) -> None:
    machine = ran(program, case, 0)
    check(machine, case)
    assert bytes(machine.memories[-1]).hex() == case.last


def test_every_operation_has_a_case() -> None:
    tested = {case.instruction.split()[0] for case in ALL}
    assert set(operations()) - tested - ELSEWHERE == set()
