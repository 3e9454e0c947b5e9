"""Which characters East Asian names are made of: everyday characters of each codec, and family names.

A short run of high bytes is valid in several East Asian codecs at once. Everyday characters and family names tell the
readings apart: the right one begins with a family name and consists of common characters; a wrong one rarely does.
"""

from __future__ import annotations

from collections.abc import Sequence

# Lower and upper bound of the codes of everyday characters, by codec and the codec in which they are coded.
_EVERYDAY_CODES = {
    "gb18030": ("gb2312", b"\xb0\xa1", b"\xf7\xfe"),  # GB 2312, levels 1 and 2
    "big5hkscs": ("big5", b"\xa4\x40", b"\xc6\x7e"),  # Big5, level 1
    "cp932": ("shift_jis", b"\x82\x9f", b"\x98\x72"),  # JIS X 0208, kana and level 1
    "euc_kr": ("euc_kr", b"\xb0\xa1", b"\xc8\xfe"),  # KS X 1001, hangul
}

# The commonest Chinese family names, simplified and traditional, and the first characters of compound ones.
_CHINESE = frozenset(
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许邓韩冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆范汪廖石金"
    "贾韦夏付方邹熊白孟秦邱侯江尹薛闫雷龙黎史陶贺毛段郝顾龚邵万覃武钱戴严欧莫孔向常汤康易乔温庄颜牛樊章葛俞鲁华申倪安季齐伍施路洪"
    "梅焦聂柳岳骆涂宁阮殷柯穆翟谷詹辛耿关岑柴褚辜蒲甘裴司闻诸上"
    "卞苗亢仇邢解缪佟祁匡卓冉靳戚巩滕查晏包车项成游凌霍鲍费宫谈盛兰丘蓝桂娄毕曲连燕冷简牟迟窦刁喻"
    "張劉陳楊黃趙吳孫馬羅鄭謝許鄧韓馮蕭蔣於葉蘇呂盧鍾鐘譚陸賈韋鄒閆閻龍賀顧龔萬錢嚴歐湯喬溫莊顏魯華齊聶駱塗寧關聞諸"
)  # fmt: skip
_KOREAN = frozenset(
    "김이박최정강조윤장임한오서신권황안송전홍유고문양손배백허남심노하곽성차주우구민류나진지엄채원천방공현함변염"
)


def is_han(char: str) -> bool:
    """A Han character of any block: unified, extension A, compatibility, or beyond the BMP."""
    return (
        "\u4e00" <= char <= "\u9fff"
        or "\u3400" <= char <= "\u4dbf"
        or "\uf900" <= char <= "\ufaff"
        or "\U00020000" <= char <= "\U0003ffff"
        or char == "〇"
    )


def is_kana(char: str) -> bool:
    """A full-width hiragana or katakana."""
    return "\u3041" <= char <= "\u30fe"


def is_hangul(char: str) -> bool:
    """A precomposed Korean syllable."""
    return "\uac00" <= char <= "\ud7a3"


def is_everyday(char: str, codec: str) -> bool:
    """Whether a character is a common one in the text that ``codec`` is used for."""
    coded_in, first, last = _EVERYDAY_CODES[codec]
    return first <= char.encode(coded_in, "ignore") <= last


def begins_with_family_name(letters: Sequence[str]) -> bool:
    """Whether the first of some East Asian characters is a Chinese or Korean family name."""
    return bool(letters) and letters[0] in (_KOREAN if is_hangul(letters[0]) else _CHINESE)
